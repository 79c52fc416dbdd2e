"""An archive on Ray: a pool of actors that each hold the network, fed with names and answering with outcomes.

Frames and flow stay in the actors: what goes through Ray's object store is a video's name and one line about it. An
actor that dies is started again and its video given to another one; because results are moved into place in one step, a
video that is computed twice has one result.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from flowzoo.archive.farewell import agents_end_with_us
from flowzoo.archive.job import Job, Outcome, Worker
from flowzoo.archive.plan import ArchivePlan
from flowzoo.archive.videos import ArchiveVideo
from flowzoo.extras import needed_for

MOST_BLOCKS = 10_000
"""Parts that the list of videos is cut into at most; a part is what is tried again."""


@dataclass(frozen=True)
class RayEngine:
    """Runs a plan on the Ray cluster that is there (RAY_ADDRESS), or on one of its own on this machine.

    Attributes:
        workers: actors.
        num_cpus, num_gpus: of each, whole or a fraction.
        retries: how often an actor is started again, and how often a video is tried again.
    """

    workers: int = 1
    num_cpus: float = 1
    num_gpus: float = 0
    retries: int = 3

    def __call__(self, plan: ArchivePlan) -> Iterator[Outcome]:
        """Outcomes in the order in which they come.

        Raises:
            InputError: Ray is missing, or without `continue_on_error` a video's actor died too often.
        """
        videos = plan.mine()
        if not videos:
            return
        ray = ray_module()
        started = not ray.is_initialized()
        if started:
            ray.init(log_to_driver=False, include_dashboard=False, logging_level="error")
        try:
            with agents_end_with_us():
                yield from self._outcomes(ray, plan, videos)
        finally:
            if started:
                ray.shutdown()

    def _outcomes(self, ray: Any, plan: ArchivePlan, videos: list[ArchiveVideo]) -> Iterator[Outcome]:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        # A video whose actor dies again and again is left out here, and found missing below.
        context.max_errored_blocks = -1
        rows = [{"path": video.path, "key": video.key, "name": video.name} for video in videos]
        job = plan.job if plan.job.threads is not None else replace(plan.job, threads=max(1, int(self.num_cpus)))
        results = ray.data.from_items(rows, override_num_blocks=min(len(rows), MOST_BLOCKS)).map_batches(
            _Actor,
            fn_constructor_args=(job,),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=self.workers),
            num_cpus=self.num_cpus,
            num_gpus=self.num_gpus,
            max_restarts=self.retries,
            max_task_retries=self.retries,
        )
        missing = {video.key for video in videos}
        for row in results.iter_rows():
            missing.discard(row["video"])
            numbers = int(row["pairs"]), float(row["seconds"])
            yield Outcome(row["video"], row["status"], row["error"], *numbers, row["note"])
        for key in sorted(missing):
            yield Outcome(
                key, "failed", f"{key}: its worker failed, or died {self.retries + 1} times (killed? out of memory?)"
            )


class _Actor:
    """What Ray starts: a worker whose videos and outcomes are columns."""

    def __init__(self, job: Job) -> None:
        self.worker = Worker(job)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        videos = [
            ArchiveVideo(str(path), str(key), str(name))
            for path, key, name in zip(batch["path"], batch["key"], batch["name"], strict=True)
        ]
        found = [self.worker(video) for video in videos]
        names = ("video", "status", "error", "pairs", "seconds", "note")
        return {name: [getattr(outcome, name) for outcome in found] for name in names}


def ray_module() -> Any:
    """Ray with Ray Data.

    Raises:
        InputError: it is not installed.
    """
    with needed_for("--engine ray needs", "ray", "ray"):
        import ray
        import ray.data
    return ray
