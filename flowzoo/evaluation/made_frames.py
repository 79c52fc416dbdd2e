"""Scores predicted frames and frames in between: the body of `flowzoo evaluate` for these."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowzoo.checkpoints.backbones import load_backbone, lpips_calibration
from flowzoo.datasets.clips.catalogue import open_clips
from flowzoo.datasets.clips.clip_dataset import Clip
from flowzoo.distributed import Ranks, start
from flowzoo.errors import InputError, counted
from flowzoo.evaluation.frame_protocols import PROTOCOLS, RANDOM_WINDOWS, FrameProtocol
from flowzoo.evaluation.report import Report
from flowzoo.files.images import read_eight_bits
from flowzoo.files.run_files import RunFiles
from flowzoo.metrics.image import METRICS, to_8bit
from flowzoo.metrics.lpips import Lpips
from flowzoo.settings import suggestion

Maker = Callable[[Sequence[np.ndarray], int], list[Tensor]]
"""Frames that go in, HxWx3 uint8, and how many should come out -> (1,3,H,W) each, in [0,1] up to rounding."""
TITLES = {"psnr": ("PSNR", "dB"), "ssim": ("SSIM", ""), "ms_ssim": ("MS-SSIM", ""), "lpips": ("LPIPS", "")}


@dataclass(frozen=True)
class Window:
    """One window of a clip."""

    clip: Clip
    first: int

    @property
    def name(self) -> str:
        """Short and unique within the data set."""
        return self.clip.name if self.first == 0 else f"{self.clip.name}_{self.first:06d}"


@dataclass
class FrameEvaluation:
    """What to evaluate.

    Attributes:
        dataset: a name of `PROTOCOLS`; subset: one of its protocols, None = the first.
        root: folder of the data set, or its parent.
        partial: take the clips that are there.
        limit: take that many windows from the start.
        predictions: folder of frames to score instead of making them.
        alexnet: file of AlexNet's weights for LPIPS; None = LPIPS is left out, and a note says so.
        reports, inputs: files that the caller writes and reads.
        left_out: after a run, what of the data set was not used, in words.
    """

    dataset: str
    root: Path
    subset: str | None = None
    partial: bool = False
    limit: int | None = None
    predictions: Path | None = None
    alexnet: Path | None = None
    reports: tuple[Path, ...] = ()
    inputs: tuple[Path, ...] = ()
    left_out: list[str] = field(default_factory=list, init=False)

    @property
    def protocol(self) -> FrameProtocol:
        """The chosen one.

        Raises:
            InputError: no such subset.
        """
        known = PROTOCOLS[self.dataset]
        subset = self.subset or next(iter(known))
        if subset not in known:
            raise InputError(f"{self.dataset} has no subset {subset!r}: {suggestion(subset, known)}")
        return known[subset]

    def run(
        self, make: "Callable[[Ranks], tuple[Maker, str, str]] | None" = None, *, progress: bool = False
    ) -> Report | None:
        """Evaluate; None in all processes of `torchrun` but the first.

        Args:
            make: gives what makes frames, and the names of its model and weights; not called for `predictions`.
            progress: show a bar.

        Raises:
            InputError: see the messages; in one process only.
        """
        from tqdm import tqdm

        with start() as ranks:
            with ranks.agreement():
                windows = self._windows()
                lpips = self._lpips()
                maker, model, weights = (None, None, None)
                if self.predictions is None:
                    if make is None:
                        raise InputError("give a network, or --predictions with a folder of frames")
                    maker, model, weights = make(ranks)
            mine = list(enumerate(windows))[ranks.rank :: ranks.count]
            hidden = not (progress and ranks.leads and sys.stderr.isatty())
            rows: list[tuple[int, dict[str, Any]]] = []
            began = time.perf_counter()
            for index, window in tqdm(mine, unit="window", desc=self.dataset, disable=hidden):
                rows.append((index, {"name": window.name, **self._scores(window, maker, lpips)}))
            gathered = ranks.gather((rows, time.perf_counter() - began))
            if not ranks.leads:
                return None
            ordered = [row for _, row in sorted((row for part, _ in gathered for row in part), key=lambda row: row[0])]
            seconds = None if maker is None else sum(spent for _, spent in gathered) / len(ordered)
            return self._report(ordered, model, weights, seconds)

    def _windows(self) -> list[Window]:
        if self.limit is not None and self.limit < 1:
            raise InputError(f"--limit must be at least 1, got {self.limit}")
        protocol = self.protocol
        name, _, subset = protocol.clips.partition("/")
        dataset = open_clips(name, self.root, subset, partial=self.partial)
        clips = dataset.clips
        length = max(*protocol.inputs, *protocol.targets) + 1
        starts = [Window(clip, first) for clip in clips for first in range(clip.length - length + 1)]
        if protocol.windows == "first":
            starts = [window for window in starts if window.first == 0]
        elif protocol.windows == "drawn" and len(starts) > RANDOM_WINDOWS:
            drawn = np.random.RandomState(0).permutation(len(starts))[:RANDOM_WINDOWS]
            starts = [starts[index] for index in drawn]
        if not starts:
            raise InputError(f"{self.dataset} under {self.root} has no clip of {counted(length, 'frame')}")
        short = sum(clip.length < length for clip in clips)
        self.left_out = dataset.notes + [
            f"left out: {counted(short, 'clip', 'have')} fewer than {counted(length, 'frame')}"
        ] * bool(short)
        files = RunFiles()
        files.reads(*self.inputs)
        for path in self.reports:
            files.writes(path, f"the report {path.name}")
        files.check()
        return starts[: self.limit]

    def _lpips(self) -> Lpips | None:
        if self.alexnet is None:
            return None
        return Lpips(load_backbone("alexnet", self.alexnet), lpips_calibration()).eval()

    def _scores(self, window: Window, maker: Maker | None, lpips: Lpips | None) -> dict[str, Any]:
        """Numbers of one window: means over its frames, and `NAME_stepN` where the protocol has steps."""
        protocol = self.protocol
        truths = [self._frame(window, place) for place in protocol.targets]
        if maker is None:
            made = [_as_image(self._prediction(window, step, t)) for step, t in enumerate(truths, start=1)]
        else:
            made = maker([self._frame(window, place) for place in protocol.inputs], len(truths))
        rows = []
        for frame, truth in zip(made, truths, strict=True):
            rows.append(self._compare(frame.double().cpu(), _as_image(truth), lpips))
        found: dict[str, Any] = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        for step in range(1, len(rows) + 1) if protocol.steps else ():
            found |= {f"{name}_step{step}": value for name, value in rows[step - 1].items()}
        return found

    def _compare(self, made: Tensor, truth: Tensor, lpips: Lpips | None) -> dict[str, float]:
        protocol = self.protocol
        if protocol.rounded == "nearest":
            made = to_8bit(made) / 255
        values = {}
        for name, metric in protocol.metrics.items():
            if metric != "lpips":
                values[name] = float(METRICS[metric](made, truth))
            elif lpips is not None:
                with torch.inference_mode():
                    values[name] = float(lpips(made.float() * 2 - 1, truth.float() * 2 - 1))
        return values

    def _frame(self, window: Window, place: int) -> np.ndarray:
        """A frame as the protocol resizes and crops it."""
        from PIL import Image

        frame = window.clip.frames(window.first + place)
        protocol = self.protocol
        if any(protocol.resize) and frame.shape[:2] != protocol.resize:
            size = (protocol.resize[1], protocol.resize[0])
            frame = np.array(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR))
        if any(protocol.crop):
            top, left = ((side - kept) // 2 for side, kept in zip(frame.shape[:2], protocol.crop, strict=True))
            frame = frame[top : top + protocol.crop[0], left : left + protocol.crop[1]]
        return np.ascontiguousarray(frame)

    def _prediction(self, window: Window, step: int, truth: np.ndarray) -> np.ndarray:
        assert self.predictions is not None, "only called where files are scored"
        path = self.predictions / self.protocol.file.format(window=window.name, step=step)
        if not path.is_file():
            raise InputError(f"no prediction {path}: they are named {self.protocol.file}")
        frame = read_eight_bits(path)
        if frame.shape != truth.shape:
            shown = [f"{array.shape[1]}x{array.shape[0]}" for array in (frame, truth)]
            raise InputError(f"{path} is {shown[0]}, wanted {shown[1]}")
        return frame

    def _report(
        self, rows: list[dict[str, Any]], model: str | None, weights: str | None, seconds: float | None
    ) -> Report:
        protocol = self.protocol
        names = [name for name in protocol.metrics if name in rows[0]]
        metrics: dict[str, float | None] = {name: _mean([row[name] for row in rows]) for name in names}
        titles = [(name, *TITLES[name]) for name in names]
        for count in protocol.steps:
            for name in names:
                steps = [_mean([row[f"{name}_step{step}"] for row in rows]) for step in range(1, count + 1)]
                metrics[f"{name}_next{count}"] = _mean([value for value in steps if value is not None])
                titles.append(
                    (f"{name}_next{count}", f"{TITLES[name][0]}, mean of {counted(count, 'step')}", TITLES[name][1])
                )
        clean = [{k: v if isinstance(v, str) or np.isfinite(v) else None for k, v in row.items()} for row in rows]
        notes = [{"nearest": "8-bit frames", "down": "frames truncated to 8 bits for SSIM", "no": "frames not rounded"}
                 [protocol.rounded]]  # fmt: skip
        if self.alexnet is None:
            notes.append("LPIPS is left out: give AlexNet's weights with --alexnet FILE")
        if protocol.windows == "drawn":
            notes.append(f"{len(rows)} windows drawn with seed 0 from clips in the order of their names")
        notes += self.left_out
        return Report(
            dataset=self.dataset,
            subset=self.subset or next(iter(PROTOCOLS[self.dataset])),
            model=model,
            weights=weights,
            pairs=len(rows),
            expected=len(rows),
            metrics=metrics,
            titles=titles,
            per_pair=clean,
            seconds_per_pair=seconds,
            notes=notes,
            predictions=None if self.predictions is None else str(self.predictions),
            counted="windows",
        )


def _mean(values: Sequence[float]) -> float | None:
    mean = float(np.mean(values)) if values else float("nan")
    return mean if np.isfinite(mean) else None


def _as_image(frame: np.ndarray) -> Tensor:
    """HxWx3 uint8 -> (1,3,H,W) float64 in [0,1]."""
    return torch.from_numpy(frame.transpose(2, 0, 1).copy())[None].double() / 255
