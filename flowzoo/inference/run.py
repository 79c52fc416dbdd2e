"""Runs an estimator over a source of pairs and writes what was asked for, in constant memory."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tqdm import tqdm

from flowzoo.errors import counted
from flowzoo.inference.estimator import Estimate, Estimator
from flowzoo.inference.outputs import OutputChoice
from flowzoo.inference.sources import Pair, PairSource
from flowzoo.inference.streams import RawFrames
from flowzoo.visualise import RunningScale, flow_picture, flow_scale

if TYPE_CHECKING:
    from flowzoo.files.video import VideoWriter

SCALE_SAMPLES = 5
"""Pairs that the common colour scale of a sequence is taken from."""


@dataclass
class InferenceRun:
    """One run of `flowzoo infer`.

    Attributes:
        estimator: network, precision and tiling.
        source: the pairs.
        outputs: what is written for each.
        batch_size: pairs of one size that are computed together.
        max_flow: flow length of full colour, in pixels; None = one scale for the whole run, found from some pairs.
        skip_existing: leave out pairs whose files are all there.
        say: prints one line for the user.
    """

    estimator: Estimator
    source: PairSource
    outputs: OutputChoice
    batch_size: int = 1
    max_flow: float | None = None
    skip_existing: bool = False
    say: Callable[[str], None] = print
    running: RunningScale | None = field(default=None, init=False)

    def __call__(self) -> None:
        """Do it."""
        film = self.outputs.video is not None or self.outputs.stream
        if self.max_flow is None and (self.outputs.picture or film):
            if self.source.once:
                self.say("colours follow the flow of the frames so far (--max-flow fixes them)")
                self.running = RunningScale()
            else:
                self.max_flow = self._common_scale()
        began, count = time.perf_counter(), 0
        many = self.source.count != 1
        with tqdm(total=self.source.count, unit="pair", disable=not (many and sys.stderr.isatty())) as progress:
            for name, paths in self._film() if film else self._files():
                count += 1
                progress.update()
                if not many:
                    self.say("wrote " + ", ".join(map(str, paths)))
                else:
                    progress.set_postfix_str(name)
        seconds = time.perf_counter() - began
        for note in self.source.afterthoughts():
            self.say(note)
        if many:
            target = "standard output" if self.outputs.stream else self.outputs.video or self.outputs.folder
            each = seconds / max(count, 1)
            self.say(f"wrote {counted(count, 'pair')} to {target} in {seconds:.1f} s ({each:.2f} s a pair)")

    def _files(self) -> Iterator[tuple[str, list[str]]]:
        """Compute and write every pair's files."""
        for pair, found in self._estimates(self._done if self.skip_existing else None):
            written = self.outputs.write(pair, found, self._scale_for(found))
            yield pair.name, [str(path) for path in written]

    def _film(self) -> Iterator[tuple[str, list[str]]]:
        """Compute every pair and write one colour video."""
        with self._writer() as writer:
            for pair, found in self._estimates(None):
                writer.write(flow_picture(found.flow, max_flow=self._scale_for(found), legend=self.outputs.legend))
                yield pair.name, [str(self.outputs.video or "standard output")]

    def _writer(self) -> "VideoWriter | RawFrames":
        from flowzoo.files.video import VideoWriter

        if self.outputs.video is None:
            return RawFrames(sys.stdout.buffer)
        return VideoWriter(self.outputs.video, self.source.rate or 25.0)

    def _scale_for(self, found: Estimate) -> float | None:
        """Flow length of full colour for a pair."""
        return self.max_flow if self.running is None else self.running.update(found.flow)

    def _done(self, index: int, name: str) -> bool:
        return self.outputs.done(name)

    def _estimates(self, skip: Callable[[int, str], bool] | None) -> Iterator[tuple[Pair, Estimate]]:
        """Pairs with their flow, computed in batches of equal size."""
        for pairs in batches(self.source.pairs(skip), self.batch_size):
            yield from self._compute(pairs)

    def _compute(self, pairs: list[Pair]) -> Iterator[tuple[Pair, Estimate]]:
        found = self.estimator.batch([pair.first for pair in pairs], [pair.second for pair in pairs])
        return zip(pairs, found, strict=True)

    def _common_scale(self) -> float | None:
        """Flow length that 99 % of the pixels of some evenly spaced pairs stay below; None for a single pair.

        One scale for all pictures: colours that follow each frame's own maximum flicker.
        """
        count = self.source.count
        if count == 1:
            return None
        samples = set(range(SCALE_SAMPLES))
        if count is not None and count > SCALE_SAMPLES:
            samples = {round(step * (count - 1) / (SCALE_SAMPLES - 1)) for step in range(SCALE_SAMPLES)}
        last = max(samples)
        lengths = []
        for index, (_, found) in enumerate(self._estimates(lambda index, _: index not in samples)):
            lengths.append(flow_scale(found.flow))
            if index + 1 == len(samples) or index == last:
                break
        scale = max(lengths, default=1.0)
        self.say(f"full colour is {scale:.1f} pixels, from {counted(len(lengths), 'pair')} (--max-flow sets it)")
        return scale


def batches(pairs: Iterable[Pair], size: int) -> Iterator[list[Pair]]:
    """Pairs in order, up to `size` together; all of a batch have images of the same two sizes."""
    waiting: list[Pair] = []
    for pair in pairs:
        if waiting and (pair.first.shape, pair.second.shape) != (waiting[0].first.shape, waiting[0].second.shape):
            yield waiting
            waiting = []
        waiting.append(pair)
        if len(waiting) == size:
            yield waiting
            waiting = []
    if waiting:
        yield waiting
