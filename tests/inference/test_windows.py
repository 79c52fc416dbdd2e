"""Which neighbours every frame gets, in a stream of which little is held."""

import numpy as np
import pytest

from flowzoo.inference.sequences import Frame
from flowzoo.inference.windows import border_index, chunks, windows

RULES = {
    "replicate": ([0, 0, 0, 1, 2], [7, 8, 9, 9, 9]),
    "reflection": ([2, 1, 0, 1, 2], [7, 8, 9, 8, 7]),
    "reflection_circle": ([4, 3, 0, 1, 2], [7, 8, 9, 6, 5]),
    "circle": ([3, 4, 0, 1, 2], [7, 8, 9, 5, 6]),
}


def stream(count, log=None):
    for index in range(count):
        if log is not None:
            log.append(index)
        yield Frame(str(index), np.zeros(0))


def numbers(frames):
    return [int(frame.name) for frame in frames]


@pytest.mark.parametrize("rule", RULES)
def test_published_rules_at_both_ends(rule):
    found = [numbers(window.frames) for window in windows(stream(10), 5, rule)]
    assert found[0] == RULES[rule][0]
    assert found[-1] == RULES[rule][1]
    assert found[4] == [2, 3, 4, 5, 6]
    assert [window[2] for window in found] == list(range(10))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_clips_shorter_than_the_window(rule, count):
    for window in windows(stream(count), 5, rule):
        assert all(0 <= number < count for number in numbers(window.frames))
        assert numbers(window.frames)[2] == window.index


def test_windows_read_ahead_no_more_than_they_need():
    log: list[int] = []
    for window in windows(stream(1000, log), 5, "reflection_circle"):
        assert len(log) <= window.index + 5
    assert log == list(range(1000))


def test_windows_that_are_not_wanted_are_left_out():
    found = windows(stream(9), 3, "replicate", lambda index, name: index % 2 == 1 and name != "3")
    assert [window.index for window in found] == [1, 5, 7]


@pytest.mark.parametrize("count", range(1, 40))
@pytest.mark.parametrize(("length", "overlap"), [(7, 3), (4, 0), (1, 2), (5, 5)])
def test_chunks_keep_every_frame_once_and_see_their_neighbours(count, length, overlap):
    kept = []
    for chunk in chunks(stream(count), length, overlap):
        seen = numbers(chunk.frames)
        mine = seen[chunk.kept]
        assert mine[0] == chunk.index == len(kept)
        assert seen == list(range(max(0, mine[0] - overlap), min(count, mine[-1] + overlap + 1)))
        assert len(mine) <= length + overlap
        kept += mine
    assert kept == list(range(count))
    if count <= length + overlap:
        assert len(list(chunks(stream(count), length, overlap))) == 1


def test_an_index_inside_is_itself():
    assert [border_index(i, 4, 9, 2, "circle") for i in range(10)] == list(range(10))
