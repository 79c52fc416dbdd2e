"""Scores a network's frames, or frames in files, over a data set of clips: the body of `flowzoo evaluate` for these."""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from flowzoo.datasets.scaled.catalogue import scaled_dataset_class
from flowzoo.datasets.scaled.scaled_dataset import ScaledClip, ScaledDataset
from flowzoo.distributed import Ranks, start
from flowzoo.errors import InputError, counted
from flowzoo.evaluation.report import Report
from flowzoo.files.images import SUFFIXES, read_eight_bits
from flowzoo.files.run_files import RunFiles
from flowzoo.inference.sequences import Frame
from flowzoo.inference.windows import chunks, windows
from flowzoo.metrics.image import METRICS

if TYPE_CHECKING:
    from flowzoo.inference.enlarger import Enlarger

SCORES = {
    "psnr": ("psnr_8bit", "PSNR, RGB", "dB"),
    "psnr_y": ("psnr_8bit_y", "PSNR, Y", "dB"),
    "ssim": ("ssim_8bit", "SSIM, RGB", ""),
    "ssim_y": ("ssim_8bit_y", "SSIM, Y", ""),
}
"""Name in the report -> name in `flowzoo.metrics.image.METRICS`, title, unit."""
LEAST_SIDE = 11
"""Pixels that SSIM's window needs."""


@dataclass
class ClipEvaluation:
    """What to evaluate.

    Attributes:
        dataset: a name of `flowzoo.datasets.scaled.catalogue.list_scaled_datasets`.
        root: folder of the data set, or its parent.
        subset: one of the data set's; None = its first.
        partial: take the clips that are there.
        limit: take that many clips from the start.
        predictions: folder of frames to score instead of running a network: CLIP/FRAME.png (or another suffix).
        degradation: how small frames are made; "stored" = as the data set ships them.
        border: pixels that are left out on each side.
        batch_size: windows at once.
        reports: files that the caller writes afterwards.
        inputs: files that the caller reads, such as weights.
    """

    dataset: str
    root: Path
    subset: str | None = None
    partial: bool = False
    limit: int | None = None
    predictions: Path | None = None
    degradation: str = "stored"
    border: int = 0
    batch_size: int = 1
    reports: tuple[Path, ...] = ()
    inputs: tuple[Path, ...] = ()
    seconds: float = field(default=0.0, init=False)

    def run(
        self, make_enlarger: "Callable[[Ranks], tuple[Enlarger, str]] | None" = None, *, progress: bool = False
    ) -> Report | None:
        """Evaluate; None in all processes of `torchrun` but the first.

        Args:
            make_enlarger: makes the network and says which weights it has; not called for `predictions`.
            progress: show a bar.

        Raises:
            InputError: see the messages; in one process only.
        """
        from tqdm import tqdm

        with start() as ranks:
            with ranks.agreement():
                dataset = self._prepare()
                enlarger, weights = (None, None)
                if self.predictions is None:
                    if make_enlarger is None:
                        raise InputError("give a network, or --predictions with a folder of frames")
                    enlarger, weights = make_enlarger(ranks)
            clips = dataset.clips[: self.limit]
            mine = clips[ranks.rank :: ranks.count]
            hidden = not (progress and ranks.leads and sys.stderr.isatty())
            rows: list[tuple[str, list[dict[str, Any]]]] = []
            with tqdm(total=sum(len(c.scored) for c in mine), unit="frame", desc=dataset.name, disable=hidden) as bar:
                for clip in mine:
                    found = []
                    for row in self._scored(dataset, clip, enlarger):
                        found.append(row)
                        bar.update()
                    rows.append((clip.name, found))
            gathered = ranks.gather((rows, self.seconds))
            return self._report(dataset, enlarger, weights, gathered) if ranks.leads else None

    def _prepare(self) -> ScaledDataset:
        for name in ("limit", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"--{name.replace('_', '-')} must be at least 1, got {value}")
        if self.border < 0:
            raise InputError(f"--border must be 0 or more pixels, got {self.border}")
        kind = scaled_dataset_class(self.dataset)
        dataset = kind(self.root, self.subset, partial=self.partial, degradation=self.degradation)
        files = RunFiles()
        files.reads(*dataset.files(), *self.inputs)
        if self.predictions is not None:
            files.reads(*(self._prediction(c, i) for c in dataset.clips[: self.limit] for i in c.scored))
        for path in self.reports:
            files.writes(path, f"the report {path.name}")
        files.check()
        return dataset

    def _prediction(self, clip: ScaledClip, index: int) -> Path:
        """The file of a scored frame."""
        assert self.predictions is not None, "only called where files are scored"
        stem = self.predictions / clip.name / clip.large[index].stem
        for suffix in SUFFIXES:
            if (path := stem.with_name(stem.name + suffix)).is_file():
                return path
        raise InputError(f"no prediction {stem}.png: predictions are named CLIP/FRAME as the frames at full size")

    def _scored(
        self, dataset: ScaledDataset, clip: ScaledClip, enlarger: "Enlarger | None"
    ) -> Iterator[dict[str, Any]]:
        """Name and scores of every frame that counts, in order."""
        frames: Iterator[tuple[int, np.ndarray]]
        if enlarger is None:
            frames = ((index, read_eight_bits(self._prediction(clip, index))) for index in clip.scored)
        else:
            frames = self._enlarged(dataset, clip, enlarger)
        for index, frame in frames:
            truth = dataset.large(clip, index)
            if frame.shape != truth.shape:
                shown = [f"{array.shape[1]}x{array.shape[0]}" for array in (frame, truth)]
                raise InputError(f"the frame for {clip.frame_name(index)} is {shown[0]}, wanted {shown[1]}")
            yield {"name": clip.frame_name(index), **self._scores(frame, truth)}

    def _scores(self, frame: np.ndarray, truth: np.ndarray) -> dict[str, float]:
        cut = slice(self.border, -self.border or None)
        pair = [torch.from_numpy(array[cut, cut].transpose(2, 0, 1))[None].double() / 255 for array in (frame, truth)]
        if min(pair[0].shape[-2:]) < LEAST_SIDE:
            raise InputError(f"frames are too small to score: at least {LEAST_SIDE} pixels a side without the border")
        return {name: float(METRICS[metric](*pair)) for name, (metric, *_) in SCORES.items()}

    def _enlarged(
        self, dataset: ScaledDataset, clip: ScaledClip, enlarger: "Enlarger"
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Number and frame, in order, by windows or chunks as `flowzoo superresolve` does it."""
        small = (Frame(str(index), dataset.small(clip, index)) for index in range(len(clip.large)))
        network, wanted = enlarger.network, frozenset(clip.scored)
        if network.frames_in is None:
            plan = enlarger.plan(dataset.small(clip, 0).shape[:2])
            assert plan.chunk is not None, "the network takes clips"
            for chunk in chunks(small, plan.chunk, plan.overlap):
                found = self._timed(enlarger.clip, [frame.pixels for frame in chunk.frames])[chunk.kept]
                numbered = enumerate(found, chunk.index)
                yield from ((index, frame) for index, frame in numbered if index in wanted)
            return
        waiting = []
        rule = network.temporal_border
        for window in windows(small, network.frames_in, rule, lambda index, _: index in wanted):
            waiting.append(window)
            if len(waiting) == self.batch_size or window.index == clip.scored[-1]:
                found = self._timed(enlarger.windows, [[frame.pixels for frame in entry.frames] for entry in waiting])
                yield from zip((entry.index for entry in waiting), found, strict=True)
                waiting = []

    def _timed(self, compute: Callable[[Any], list[np.ndarray]], frames: Any) -> list[np.ndarray]:
        began = time.perf_counter()
        found = compute(frames)
        self.seconds += time.perf_counter() - began
        return found

    def _report(
        self,
        dataset: ScaledDataset,
        enlarger: "Enlarger | None",
        weights: str | None,
        gathered: list[tuple[list[tuple[str, list[dict[str, Any]]]], float]],
    ) -> Report:
        by_clip = dict(entry for rows, _ in gathered for entry in rows)
        ordered = [by_clip[clip.name] for clip in dataset.clips[: self.limit]]
        per_frame = [row for rows in ordered for row in rows]
        groups = ordered if dataset.per_clip else [per_frame]
        means = {name: [float(np.mean([row[name] for row in rows])) for rows in groups] for name in SCORES}
        metrics: dict[str, float | None] = {name: float(np.mean(values)) for name, values in means.items()}
        metrics = {name: value if np.isfinite(value or 0.0) else None for name, value in metrics.items()}
        rows = [{k: v if isinstance(v, str) or np.isfinite(v) else None for k, v in row.items()} for row in per_frame]
        official = sum(len(clip.scored) for clip in dataset.clips) + (dataset.expected - len(dataset)) * len(ordered[0])
        return Report(
            dataset=dataset.name,
            subset=dataset.subset,
            model=None if enlarger is None else enlarger.network.model_name,
            weights=weights,
            pairs=len(per_frame),
            expected=official,
            metrics=metrics,
            titles=[(name, title, unit) for name, (_, title, unit) in SCORES.items()],
            per_pair=rows,
            seconds_per_pair=None if enlarger is None else sum(time for _, time in gathered) / len(per_frame),
            notes=self._notes(dataset, enlarger),
            predictions=None if self.predictions is None else str(self.predictions),
            counted="frames",
        )

    def _notes(self, dataset: ScaledDataset, enlarger: "Enlarger | None") -> list[str]:
        notes = ["mean over clips of their frames' means" if dataset.per_clip else "mean over all frames"]
        notes.append("8-bit frames" + (f", {self.border} pixels left out at each border" if self.border else ""))
        if enlarger is not None and dataset.made:
            kind = "bicubic" if dataset.degradation == "stored" else dataset.degradation
            notes.append(f"small frames made here: {kind}, a quarter of the size, 8 bits")
        if len(dataset) < dataset.expected:
            notes.insert(0, f"partial: {counted(len(dataset), 'clip', 'are', of=dataset.expected)} there")
        notes += dataset.notes
        if enlarger is not None and enlarger.network.frames_in is None:
            first = dataset.clips[0]
            plan = enlarger.plan(dataset.small(first, 0).shape[:2])
            if plan.chunk is not None and len(first.large) > plan.chunk + plan.overlap:
                notes.append(
                    f"clips in chunks of {plan.chunk} frames, {plan.overlap} shared, to stay within "
                    f"{enlarger.memory:g} GB; published scores are of whole clips (--memory)"
                )
        return notes
