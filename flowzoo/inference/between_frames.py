"""One run of `flowzoo interpolate`: windows of a stream of frames through a method, in constant memory."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from flowzoo.inference.frame_outputs import DEFAULT_RATE, FrameOutputs
from flowzoo.inference.interpolation import Interpolator, moments
from flowzoo.inference.sequences import Frame, FrameSequence


def numbered(index: int) -> str:
    """The name of frame `index` of a clip with more frames."""
    return f"{index:06d}"


@dataclass
class InterpolationRun:
    """All frames of a clip, and the new ones between them, in order.

    Attributes:
        method: makes frames between two.
        sequence: the frames, at least two.
        outputs: what is written; files are numbered from 0.
        factor: how many times the rate grows.
        skip_existing: leave out frames whose files are there.
        say: prints one line for the user.
    """

    method: Interpolator
    sequence: FrameSequence
    outputs: FrameOutputs
    factor: int
    skip_existing: bool = False
    say: Callable[[str], None] = print

    def __call__(self) -> None:
        """Do it."""
        rate = (self.sequence.rate or DEFAULT_RATE) * self.factor
        self.outputs.write(self.results(), rate, total_of(self.sequence, self.factor), self.say)

    def results(self) -> Iterator[tuple[str, np.ndarray]]:
        """Names and frames in order."""
        times, last = moments(self.factor), None
        for index, window in enumerate(neighbours(self.sequence, self.method.window)):
            first, second = window[len(window) // 2 - 1], window[len(window) // 2]
            names = [numbered(index * self.factor + step) for step in range(self.factor)]
            if self._wanted(names[0]):
                yield names[0], first
            wanted = [self._wanted(name) for name in names[1:]]
            if any(wanted):
                yield from itertools.compress(zip(names[1:], self.method(window, times), strict=True), wanted)
            last = numbered((index + 1) * self.factor), second
        if last is not None and self._wanted(last[0]):
            yield last

    def _wanted(self, name: str) -> bool:
        return not (self.skip_existing and self.outputs.video is None and self.outputs.done(name))


def names_of(sequence: FrameSequence, factor: int) -> Iterator[str]:
    """The names of all frames of the result, as far as its number is known."""
    return map(numbered, range(total_of(sequence, factor) or 1))


def total_of(sequence: FrameSequence, factor: int) -> int | None:
    """Frames of the result, or None where only reading to the end tells."""
    return None if sequence.count is None else (sequence.count - 1) * factor + 1


def neighbours(frames: Iterable[Frame], length: int) -> Iterator[list[np.ndarray]]:
    """A window of `length` (even) frames around every two neighbours; beyond the ends the last frame is repeated."""
    held: deque[np.ndarray] = deque(maxlen=length)
    for pixels in _with_ends(frames, length // 2 - 1):
        held.append(pixels)
        if len(held) == length:
            yield list(held)


def _with_ends(frames: Iterable[Frame], repeated: int) -> Iterator[np.ndarray]:
    """The frames' pixels, the first and the last `repeated` more times."""
    last = None
    for frame in frames:
        if last is None:
            yield from itertools.repeat(frame.pixels, repeated)
        yield frame.pixels
        last = frame.pixels
    if last is not None:
        yield from itertools.repeat(last, repeated)
