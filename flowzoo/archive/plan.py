"""A whole archive: its videos, what is made of them, and running that here or on an engine."""

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowzoo.archive import staging
from flowzoo.archive.job import Job, Outcome, Worker
from flowzoo.archive.motion import check_table, write_table
from flowzoo.archive.videos import ArchiveVideo, in_shard
from flowzoo.errors import InputError, counted
from flowzoo.files.run_files import RunFiles

Engine = Callable[["ArchivePlan"], Iterator[Outcome]]
"""Runs a plan and gives the outcome of every video, in any order."""


@dataclass(frozen=True)
class Summary:
    """How many videos were computed, were there already, and failed; `failures` is the file that lists the last."""

    done: int
    skipped: int
    failed: int
    pairs: int
    failures: Path | None = None


@dataclass(frozen=True)
class ArchivePlan:
    """What a run over an archive is; can be sent to another process.

    Attributes:
        job: what is made of every video.
        videos: all of the archive.
        shard: which part of them is this run's, as (index, count), or None.
        continue_on_error: go on past videos that fail, and list them.
        motion_score: table of motion scores, or None.
    """

    job: Job
    videos: tuple[ArchiveVideo, ...]
    shard: tuple[int, int] | None = None
    continue_on_error: bool = False
    motion_score: Path | None = None

    def mine(self) -> list[ArchiveVideo]:
        """The videos of this run's shard."""
        shard = self.shard
        return [video for video in self.videos if shard is None or in_shard(video, *shard)]

    def check(self) -> None:
        """Compare what is read with what will be written.

        Raises:
            InputError: an output is an input, two are one, or one cannot be written.
        """
        files = RunFiles()
        files.reads(*(video.path for video in self.videos), self.job.weights)
        for video in self.videos:
            target = self.job.target(video)
            if target is not None:
                files.writes(target if target.suffix else target / "x", f"the result of {video.key}")
        if self.motion_score is not None:
            check_table(self.motion_score)
            files.writes(self._sharded(self.motion_score), "the motion scores")
        files.check()

    def __call__(self, engine: "Engine | None" = None, say: Callable[[str], None] = print) -> Summary:
        """Run it, by default in this process.

        Raises:
            InputError: a video failed and `continue_on_error` is not set.
        """
        self.check()
        out = Path(self.job.out)
        staging.sweep(out)
        failures = out / self._sharded(Path("failures.jsonl")).name
        with contextlib.suppress(FileNotFoundError):
            failures.unlink()
        counts = {"done": 0, "skipped": 0, "failed": 0}
        pairs = 0
        for outcome in (engine or in_this_process)(self):
            counts[outcome.status] += 1
            pairs += outcome.pairs
            if outcome.status == "failed":
                if not self.continue_on_error:
                    raise InputError(f"{outcome.error} (--continue-on-error goes on past it)")
                _append(failures, {"video": outcome.video, "error": outcome.error})
                say(f"failed: {outcome.error}")
            elif outcome.status == "done":
                note = f"; {outcome.note}" if outcome.note else ""
                say(f"{outcome.video}: {counted(outcome.pairs, 'pair')} in {outcome.seconds:.1f} s{note}")
        staging.sweep(out)
        if self.motion_score is not None:
            write_table(self._sharded(self.motion_score), self._scores())
        return Summary(**counts, pairs=pairs, failures=failures if counts["failed"] else None)

    def _sharded(self, path: Path) -> Path:
        """The name of a file of this shard: shards must not overwrite each other's."""
        if self.shard is None:
            return path
        index, count = self.shard
        return path.with_name(f"{path.stem}-{index}-of-{count}{path.suffix}")

    def _scores(self) -> list[dict[str, Any]]:
        """A row a video, in order, from the records."""
        rows = []
        for video in self.mine():
            record = staging.read_record(Path(self.job.out), video.name)
            if record is not None and "motion" in record:
                shared = {name: record[name] for name in ("video", "pairs", "width", "height", "rate")}
                rows.append(shared | record["motion"])
        return rows


def in_this_process(plan: ArchivePlan) -> Iterator[Outcome]:
    """The engine without an engine: one video after the other."""
    return map(Worker(plan.job), plan.mine())


def _append(path: Path, row: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
