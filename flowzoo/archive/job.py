"""One video of an archive: what is to be made of it, and making it."""

import hashlib
import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowzoo.archive import staging
from flowzoo.archive.motion import MotionScore
from flowzoo.archive.videos import ArchiveVideo
from flowzoo.archive.writers import (
    FILES_IN_FOLDER,
    STEPS,
    SUFFIX_OF,
    UNKNOWN,
    ColourVideo,
    FlowFolder,
    FlowWriter,
    JpegFolder,
    Nothing,
    ZarrArray,
)
from flowzoo.errors import InputError

if TYPE_CHECKING:
    from flowzoo.inference.estimator import Estimator
    from flowzoo.inference.sources import VideoPairs

RECORD = 1
"""Version of the records; those of others do not count."""


@dataclass(frozen=True)
class Job:
    """What is made of every video; can be sent to another process.

    Attributes:
        out: the output folder.
        model, weights: names; weights may be a file.
        settings: of the network.
        format: a name of `flowzoo.archive.writers.FORMATS`; "none" keeps motion scores alone.
        bound: pixels that 0 and 255 stand for in JPEGs.
        clip: limit flow to what the format holds.
        partial: take what is there of a cut video.
        max_flow: pixels of full colour in colour videos.
        motion: collect motion scores.
        scale: factor by which frames are resized first.
        device, precision: as for `flowzoo infer`.
        batch_size: pairs at once; it does not change the result.
        memory: gigabytes; frames that need more are cut into tiles, which changes the flow a little.
        skip_existing: leave videos whose results are there, of the same video, made with the same settings.
        threads: of the CPU in a process; None: as torch has it.
    """

    out: str
    model: str
    weights: str
    settings: dict[str, Any] = field(default_factory=dict)
    format: str = "zarr"
    bound: float = 20.0
    clip: bool = False
    partial: bool = False
    max_flow: float | None = None
    motion: bool = False
    scale: float = 1.0
    device: str = "auto"
    precision: str = "float32"
    batch_size: int = 1
    memory: float | None = None
    skip_existing: bool = True
    threads: int | None = None

    def digest(self) -> str:
        """What the result hangs on, besides the video."""
        own = asdict(self)
        changing = "model", "settings", "format", "bound", "clip", "partial", "max_flow", "scale", "precision", "memory"
        values = {name: own[name] for name in changing}
        weights = Path(self.weights)
        # A file counts by what it holds, a tag by its name.
        values["weights"] = hashlib.sha256(weights.read_bytes()).hexdigest() if weights.is_file() else self.weights
        return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()

    def target(self, video: ArchiveVideo) -> Path | None:
        """The video's one result, a file or a folder; None where only its score is kept."""
        if self.format == "none":
            return None
        return Path(self.out) / f"{video.name}{SUFFIX_OF[self.format]}"


@dataclass(frozen=True)
class Outcome:
    """What became of a video: "done", "skipped", or "failed" with the error's line; `note` is for the user to read."""

    video: str
    status: str
    error: str = ""
    pairs: int = 0
    seconds: float = 0.0
    note: str = ""


class Worker:
    """Holds the network and makes one result after the other; the network is made when it is first needed."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._digest: str | None = None
        self._estimator: Estimator | None = None

    def __call__(self, video: ArchiveVideo) -> Outcome:
        """Make a video's result; a video that is to blame itself is an outcome, not an exception."""
        began = time.perf_counter()
        try:
            if self.job.skip_existing and self.done(video):
                return Outcome(video.key, "skipped")
            pairs, notes = self._make(video)
        except InputError as error:
            return Outcome(video.key, "failed", str(error))
        return Outcome(video.key, "done", "", pairs, time.perf_counter() - began, "; ".join(notes))

    def digest(self) -> str:
        """See `Job.digest`; the weights are read once."""
        if self._digest is None:
            self._digest = self.job.digest()
        return self._digest

    def done(self, video: ArchiveVideo) -> bool:
        """Whether the result is there, complete, of this video, with these settings."""
        record = staging.read_record(Path(self.job.out), video.name)
        target = self.job.target(video)
        if record is None or (target is not None and not target.exists()):
            return False
        wanted = (RECORD, self.digest(), staging.fingerprint(video.path))
        if (record.get("version"), record.get("settings"), record.get("fingerprint")) != wanted:
            return False
        return not self.job.motion or "motion" in record

    def _make(self, video: ArchiveVideo) -> tuple[int, list[str]]:
        """Make a video's result; returns its number of pairs and what the user should know."""
        from flowzoo.inference.sources import VideoPairs

        out, target = Path(self.job.out), self.job.target(video)
        found = staging.fingerprint(video.path)
        source = VideoPairs(Path(video.path), partial=self.job.partial)
        score = MotionScore() if self.job.motion else None
        if target is None:
            pairs = self._write(Nothing(), source, score)
        else:
            with staging.staged(target, out) as place:
                pairs = self._write(self._writer(place, source, video), source, score)
        height, width = source.size
        record = {"version": RECORD, "video": video.key, "fingerprint": found, "settings": self.digest()}
        record |= {"pairs": pairs, "height": height, "width": width, "rate": source.rate, "notes": source.notes}
        staging.write_record(out, video.name, record | ({} if score is None else {"motion": score.scores()}))
        return pairs, source.notes

    def _write(self, writer: FlowWriter, source: "VideoPairs", score: MotionScore | None) -> int:
        """Estimate all pairs; returns their number."""
        from flowzoo.inference.run import batches

        pairs = 0
        estimator = self._network()
        with writer:
            for batch in batches(source.pairs(), self.job.batch_size):
                for found in estimator.batch([pair.first for pair in batch], [pair.second for pair in batch]):
                    writer.write(found.flow)
                    if score is not None:
                        score.add(found.flow)
                    pairs += 1
        return pairs

    def _writer(self, place: Path, source: "VideoPairs", video: ArchiveVideo) -> FlowWriter:
        job = self.job
        if job.format == "zarr":
            attributes = {"unit": "pixel", "step": 1 / STEPS, "unknown": UNKNOWN, "components": ["x", "y"]}
            attributes |= {"video": video.key, "frames_per_second": source.rate, "model": job.model}
            return ZarrArray(place, source.size, job.clip, attributes | {"weights": Path(job.weights).name})
        if job.format == "jpeg":
            return JpegFolder(place, job.bound)
        if job.format == "mp4":
            return ColourVideo(place, source.rate or 25.0, job.max_flow)
        return FlowFolder(place, FILES_IN_FOLDER[job.format], job.format, job.clip)

    def _network(self) -> "Estimator":
        if self._estimator is None:
            import torch

            from flowzoo.creation import create_flow_network
            from flowzoo.devices import pick_device, pick_precision
            from flowzoo.inference.estimator import Estimator

            job = self.job
            if job.threads is not None:
                torch.set_num_threads(job.threads)
            device = pick_device(job.device)
            network = create_flow_network(job.model, job.weights, **job.settings).to(device)
            precision = pick_precision(job.precision, network.device)
            self._estimator = Estimator(network, precision, memory=job.memory, scale=job.scale)
        return self._estimator
