"""Enlarges a clip frame by frame and writes pictures or a video, in constant memory."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from flowzoo.inference.enlarger import Enlarger
from flowzoo.inference.frame_outputs import DEFAULT_RATE, FrameOutputs
from flowzoo.inference.sequences import FrameSequence
from flowzoo.inference.windows import Window, chunks, windows


@dataclass
class SuperResolutionRun:
    """One run of `flowzoo superresolve`.

    Attributes:
        enlarger: network, precision, tiles and chunks.
        sequence: the frames.
        outputs: what is written.
        batch_size: windows that are computed together.
        skip_existing: leave out frames whose files are there.
        say: prints one line for the user.
    """

    enlarger: Enlarger
    sequence: FrameSequence
    outputs: FrameOutputs
    batch_size: int = 1
    skip_existing: bool = False
    say: Callable[[str], None] = print

    def __call__(self) -> None:
        """Do it."""
        rate = self.sequence.rate or DEFAULT_RATE
        self.outputs.write(self._results(), rate, self.sequence.count, self.say)

    def _wanted(self, index: int, name: str) -> bool:
        skip = self.skip_existing and self.outputs.video is None
        return not (skip and self.outputs.done(name))

    def _results(self) -> Iterator[tuple[str, np.ndarray]]:
        """Names and enlarged frames in order."""
        return self._by_windows() if self.enlarger.network.frames_in is not None else self._by_chunks()

    def _by_windows(self) -> Iterator[tuple[str, np.ndarray]]:
        network = self.enlarger.network
        assert network.frames_in is not None, "the network takes windows"
        waiting: list[Window] = []
        for window in windows(self.sequence, network.frames_in, network.temporal_border, self._wanted):
            waiting.append(window)
            if len(waiting) == self.batch_size:
                yield from self._enlarged(waiting)
                waiting = []
        if waiting:
            yield from self._enlarged(waiting)

    def _enlarged(self, waiting: list[Window]) -> Iterator[tuple[str, np.ndarray]]:
        found = self.enlarger.windows([[frame.pixels for frame in window.frames] for window in waiting])
        return zip((window.name for window in waiting), found, strict=True)

    def _by_chunks(self) -> Iterator[tuple[str, np.ndarray]]:
        plan = self.enlarger.plan(self.sequence.size)
        assert plan.chunk is not None, "the network takes clips"
        for chunk in chunks(self.sequence, plan.chunk, plan.overlap):
            names = [frame.name for frame in chunk.frames[chunk.kept]]
            wanted = [self._wanted(chunk.index + step, name) for step, name in enumerate(names)]
            if any(wanted):
                found = self.enlarger.clip([frame.pixels for frame in chunk.frames])[chunk.kept]
                yield from itertools.compress(zip(names, found, strict=True), wanted)
