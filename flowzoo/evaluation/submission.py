"""Files that the test servers take: checked pair by pair, in place only when all of them are right."""

import os
import shutil
import zipfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from flowzoo.datasets.dataset import FlowDataset, Pair
from flowzoo.errors import InputError, counted
from flowzoo.files.claim import NAME as LOCK
from flowzoo.files.claim import claimed
from flowzoo.files.flow import read_flow, write_flow


class Submission:
    """Collects a submission in a hidden folder beside its target.

    Args:
        target: the folder that is asked for.
        dataset: the complete test split.

    Raises:
        InputError: the data set has no server, this is not its test split, pairs are missing, or files are in the way.
    """

    def __init__(self, target: Path, dataset: FlowDataset, count: int) -> None:
        self.target, self.dataset, self._held = target, dataset, ExitStack()
        if target.name in ("", ".."):
            raise InputError(f"--submission {target}: give a folder of its own, with a name")
        if dataset.server is None:
            raise InputError(f"--submission: {dataset.name} has no server that takes files; drop it")
        self.layout = dataset.server
        if dataset.subset.partition("-")[0] != self.layout.subset:
            raise InputError(
                f"--submission: the server scores the subset {self.layout.subset}, not {dataset.subset}; drop --subset"
            )
        if count != dataset.expected:
            raise InputError(
                f"--submission: the server takes all {dataset.expected} pairs, here are {count}; "
                "complete the data set and drop --limit"
            )
        self.staging = target.with_name(f".{target.name}.{dataset.name}.partial")
        for name in self._top_level():
            if (target / name).exists():
                raise InputError(f"--submission: {target / name} exists; remove it or choose another folder")

    def _top_level(self) -> set[str]:
        """What will lie directly in the target."""
        paths = {self._relative(pair).parts[0] for pair in self.dataset.pairs}
        return paths | ({self.layout.archive} if self.layout.archive else set())

    def outputs(self) -> list[Path]:
        """Every file that the submission will consist of."""
        files = [self.target / self._relative(pair) for pair in self.dataset.pairs]
        return [*files, self.target / self.layout.archive] if self.layout.archive else files

    def _relative(self, pair: Pair) -> Path:
        return Path(self.layout.folder) / pair.prediction

    def begin(self) -> None:
        """Make the hidden folder, empty, and hold it until `discard`.

        Raises:
            InputError: another process is filling it, or it cannot be made.
        """
        self._held.enter_context(claimed(self.staging, "evaluation with this --submission"))
        for leftover in self.staging.iterdir():
            if leftover.is_dir():
                shutil.rmtree(leftover)
            elif leftover.name != LOCK:
                leftover.unlink()
        self._held.callback(shutil.rmtree, self.staging, ignore_errors=True)

    def keep(self, pair: Pair, flow: np.ndarray) -> None:
        """Check and store one prediction (HxWx2 float32, all finite, of the image's size).

        Raises:
            InputError: a value is outside what the server's format holds.
        """
        if self.layout.limits is not None:
            low, high = float(flow.min()), float(flow.max())
            if low < self.layout.limits[0] or high > self.layout.limits[1]:
                raise InputError(
                    f"--submission: flow of {pair.name} reaches {low:.1f} to {high:.1f} px, the server's format holds "
                    f"{self.layout.limits[0]:.0f} to {self.layout.limits[1]:.2f}; use another model"
                )
        write_flow(self.staging / self._relative(pair), flow)

    def finish(self) -> str:
        """Check that every file is there and readable, pack them, move them to the target; says what to do with them.

        Raises:
            InputError: a file is missing or damaged.
        """
        for pair in self.dataset.pairs:
            path = self.staging / self._relative(pair)
            _, valid = read_flow(path)
            size = self.dataset.prediction_size(pair)
            if valid.shape != size or not valid.all():
                raise InputError(
                    f"--submission: {path} is not a complete {size[1]}x{size[0]} flow; the disk may be full"
                )
        if self.layout.archive:
            self._pack()
        try:
            self.target.mkdir(parents=True, exist_ok=True)
            for name in sorted(self._top_level()):
                os.replace(self.staging / name, self.target / name)
        except OSError as error:
            raise InputError(
                f"--submission: cannot fill {self.target}: {error.strerror}; choose another place"
            ) from error
        self.discard()
        files = counted(len(self.dataset), "flow file")
        return f"wrote {files} to {self.target}; {self.layout.advice.format(self.target)}"

    def _pack(self) -> None:
        with zipfile.ZipFile(self.staging / self.layout.archive, "w", zipfile.ZIP_STORED) as archive:
            for pair in self.dataset.pairs:
                # A fixed date, so that the same predictions give the same archive.
                entry = zipfile.ZipInfo(self._relative(pair).as_posix(), date_time=(1980, 1, 1, 0, 0, 0))
                archive.writestr(entry, (self.staging / self._relative(pair)).read_bytes())

    def discard(self) -> None:
        """Remove the hidden folder, if this process holds it."""
        self._held.close()
