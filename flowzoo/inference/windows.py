"""Windows and chunks of a stream of frames: which neighbours a frame gets, also at the ends. Constant memory."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from flowzoo.inference.sequences import Frame

TemporalBorder = Literal["replicate", "reflection", "reflection_circle", "circle"]


def border_index(index: int, centre: int, last: int, reach: int, rule: TemporalBorder) -> int:
    """The frame that stands for frame `index` in the window around `centre`, where it lies beyond the ends.

    For windows of five around frame 0: replicate 0 0 0 1 2, reflection 2 1 0 1 2, reflection_circle 4 3 0 1 2, circle
    3 4 0 1 2; likewise at the end. In clips that are too short for the rule the nearest frame that is there.
    """
    if index < 0:
        places = {
            "replicate": 0,
            "reflection": -index,
            "reflection_circle": centre + reach - index,
            "circle": 2 * reach + 1 + index,
        }
        index = places[rule]
    elif index > last:
        places = {
            "replicate": last,
            "reflection": 2 * last - index,
            "reflection_circle": centre - reach - (index - last),
            "circle": index - 2 * reach - 1,
        }
        index = places[rule]
    return min(max(index, 0), last)


@dataclass(frozen=True)
class Window:
    """A frame's number and name, and the frames around it in order, itself in the middle."""

    index: int
    name: str
    frames: list[Frame]


def windows(
    frames: Iterable[Frame], length: int, rule: TemporalBorder, wanted: Callable[[int, str], bool] | None = None
) -> Iterator[Window]:
    """A window of `length` (odd) frames around every frame.

    Args:
        frames: in order; at most 2 * length of them are held.
        length: of the windows.
        rule: see `border_index`.
        wanted: called with number and name; windows for which it is false are left out.
    """
    stream, reach = iter(frames), length // 2
    held: dict[int, Frame] = {}
    count, last = 0, None
    for centre in itertools.count():
        while last is None and count < centre + length:
            frame = next(stream, None)
            if frame is None:
                last = count - 1
            else:
                held[count] = frame
                count += 1
        if last is not None and centre > last:
            return
        if wanted is None or wanted(centre, held[centre].name):
            end = count if last is None else last
            places = [border_index(i, centre, end, reach, rule) for i in range(centre - reach, centre + reach + 1)]
            yield Window(centre, held[centre].name, [held[place] for place in places])
        held.pop(centre - length + 1, None)


@dataclass(frozen=True)
class Chunk:
    """Frames computed together: of `frames`, those in `kept` are results; `index` is the first of these' number."""

    index: int
    frames: list[Frame]
    kept: slice


def chunks(frames: Iterable[Frame], length: int, overlap: int) -> Iterator[Chunk]:
    """Chunks of `length` frames that also see `overlap` frames on either side.

    What is left after a chunk joins it if it is no more than `overlap` frames, so that clips of up to length + overlap
    frames are one chunk.
    """
    stream = iter(frames)
    held: list[Frame] = list(itertools.islice(stream, length + overlap))
    before, index = 0, 0  # of `held`, frames before the chunk; number of the chunk's first frame
    while len(held) > before:
        following = next(stream, None)
        if following is None:
            yield Chunk(index, held, slice(before, len(held)))
            return
        yield Chunk(index, held, slice(before, before + length))
        index += length
        drop = max(0, before + length - overlap)
        before = before + length - drop
        held = [*held[drop:], following, *itertools.islice(stream, length - 1)]
