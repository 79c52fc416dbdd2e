"""The wording of messages."""

import pytest

from flowzoo.errors import InputError, counted


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (counted(1, "frame"), "1 frame"),
        (counted(0, "frame"), "0 frames"),
        (counted(2, "frame"), "2 frames"),
        (counted(1, "clip", "are"), "1 clip is"),
        (counted(3, "clip", "are"), "3 clips are"),
        (counted(1, "clip", "have"), "1 clip has"),
        (counted(1, "tensor", "hold"), "1 tensor holds"),
        (counted(1, "pair", "are", of=12), "1 of 12 pairs is"),
        (counted(0, "pair", "are", of=1), "0 of 1 pair are"),
    ],
)
def test_numbers_of_things(words: str, said: str) -> None:
    assert words == said


def test_a_message_is_one_line_that_can_be_read() -> None:
    message = str(InputError("a\x1b[2J\nb" + "x" * 5000))
    assert message.startswith("a\\x1b[2J b")
    assert len(message) < 1000
    assert message.endswith("xxx")
