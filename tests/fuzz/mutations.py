"""Valid files, taken apart, with changes that know their parts: checksums and lengths around a part are right again."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

KINDS = (
    *("flip", "byte", "number", "number", "cut", "delete", "repeat", "insert", "word", "word", "copy", "swap", "nest"),
    *("digits", "raw"),
)
NUMBERS = (
    *(0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 255, 256, 257, 1000, 4095, 4096, 32767, 32768),
    *(65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1),
)
MARKS = (
    b"",
    b"\0",
    b"\xff",
    b"\x80",
    b"\x1b[2J",
    "é".encode(),
    b"\xed\xa0\x80",
    b"\r\n",
    b"\t",
    b" ",
    b"-",
    b"..",
    b"/",
)


@dataclass(frozen=True)
class Change:
    """One step: what is done, to which part, where in it (0..1), how much of it, and a number to do it with."""

    kind: str
    part: int
    place: float
    amount: int
    value: int


@dataclass(frozen=True)
class Seed:
    """A valid file: its parts, how they become a file, and words that mean something in its format."""

    parts: Sequence[bytes]
    build: Callable[[list[bytes]], bytes] = b"".join
    words: Sequence[bytes] = ()

    def changed(self, changes: Sequence[Change]) -> bytes:
        """The file with its parts changed; "raw" changes come last, to the whole file."""
        parts = list(self.parts)
        for change in changes:
            if change.kind != "raw":
                index = change.part % len(parts)
                parts[index] = _applied(change, parts[index], (*self.words, *MARKS))
        content = self.build(parts)
        for change in changes:
            if change.kind == "raw":
                kind = KINDS[change.value % (len(KINDS) - 1)]
                content = _applied(
                    Change(kind, 0, change.place, change.amount, change.value), content, self.words or MARKS
                )
        return content


changes = st.lists(
    st.builds(
        Change,
        kind=st.sampled_from(KINDS),
        part=st.integers(0, 9),
        place=st.floats(0, 1),
        amount=st.integers(0, 4000),
        value=st.integers(0, 2**16),
    ),
    min_size=1,
    max_size=5,
)
"""What hypothesis draws for one input."""


def _applied(change: Change, content: bytes, words: Sequence[bytes]) -> bytes:
    # Squared, so that more changes fall on the beginning, where headers are.
    place = int(change.place**2 * len(content))
    amount, value = change.amount, change.value
    before, after = content[:place], content[place:]
    match change.kind:
        case "flip" if after:
            return before + bytes([after[0] ^ (1 << value % 8)]) + after[1:]
        case "byte":
            return before + bytes([value % 256]) + after[1:]
        case "number":
            number = NUMBERS[value % len(NUMBERS)]
            form = ("<B", "<H", ">H", "<I", ">I", "<Q", ">Q")[amount % 7]
            width = struct.calcsize(form)
            return before + struct.pack(form, number % 256**width) + after[width:]
        case "cut":
            return before
        case "delete":
            return before + after[1 + amount % 64 :]
        case "repeat":
            return before + after[: 1 + value % 40] * (1 + amount % 200) + after
        case "insert":
            return before + bytes([value % 256]) * (amount % 300) + after
        case "word":
            word = words[value % len(words)]
            return before + word + after[amount % 3 * len(word) // 2 :]
        case "copy":
            start = value % (len(content) + 1)
            return before + content[start : start + amount % 200] + after
        case "swap":
            size = 1 + amount % 60
            return before + after[size : 2 * size] + after[:size] + after[2 * size :]
        case "nest":
            word = words[value % len(words)] or b"("
            return before + word * (amount * 10) + after
        case "digits":
            return _other_digits(
                content, place, str(NUMBERS[value % len(NUMBERS)] * (-1) ** (amount % 4 == 0)).encode()
            )
    return content


def _other_digits(content: bytes, place: int, digits: bytes) -> bytes:
    """The next run of decimal digits replaced."""
    start = next((index for index in range(place, len(content)) if content[index : index + 1].isdigit()), None)
    if start is None:
        return content
    end = start
    while end < len(content) and content[end : end + 1].isdigit():
        end += 1
    return content[:start] + digits + content[end:]
