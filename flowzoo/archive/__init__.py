"""Whole archives of videos: one result a video, in shards, on one machine or on an engine.

>>> import flowzoo
>>> flowzoo.archive.infer("videos/", "flow/", format="zarr", motion_score="scores.parquet")
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flowzoo.archive.job import Job, Outcome, Worker
from flowzoo.archive.plan import ArchivePlan, Summary
from flowzoo.archive.ray_engine import RayEngine, ray_module
from flowzoo.archive.videos import Paths, find_videos
from flowzoo.archive.writers import FORMATS, NEEDS
from flowzoo.errors import InputError

__all__ = ["ArchivePlan", "Job", "Outcome", "RayEngine", "Summary", "Worker", "infer", "plan"]

ENGINES = ("local", "ray")
DEFAULT_MODEL = "wren"
"""The network without a name; its weights ship with the package."""


def plan(
    paths: Paths,
    out: str | os.PathLike[str],
    *,
    model: str | None = None,
    weights: str | os.PathLike[str] | None = None,
    format: str = "zarr",
    pattern: str | None = None,
    shard: tuple[int, int] | None = None,
    continue_on_error: bool = False,
    motion_score: str | os.PathLike[str] | None = None,
    **options: Any,
) -> ArchivePlan:
    """What `infer` runs, to be looked at, sent elsewhere, or run by a call; arguments as there.

    Raises:
        InputError: no videos, an unknown name, options that contradict each other, or a package that is missing.
    """
    if format not in FORMATS:
        raise InputError(f"there is no archive format {format!r}: give one of {', '.join(FORMATS)}")
    if format == "none" and motion_score is None:
        raise InputError("format none keeps no flow: it is for motion scores alone, so name their table")
    if not 0 < options.get("bound", 1.0) < float("inf"):
        raise InputError(f"the bound must be above 0 pixels, got {options['bound']}")
    if format in NEEDS:
        NEEDS[format]()
    name, chosen = _chosen(model, None if weights is None else os.fspath(weights))
    job = Job(os.fspath(out), name, chosen, format=format, motion=motion_score is not None, **options)
    table = None if motion_score is None else Path(motion_score)
    videos = tuple(find_videos(paths, pattern))
    place = os.path.join(os.path.abspath(out), "")
    inside = next((video.path for video in videos if os.path.abspath(video.path).startswith(place)), None)
    if inside is not None:
        raise InputError(f"{inside} is an input and lies in the output folder {os.fspath(out)}: give another folder")
    return ArchivePlan(job, videos, shard, continue_on_error, table)


def infer(
    paths: Paths,
    out: str | os.PathLike[str],
    *,
    engine: str = "local",
    workers: int = 1,
    num_cpus: float = 1,
    num_gpus: float = 0,
    retries: int = 3,
    say: Callable[[str], None] = print,
    **options: Any,
) -> Summary:
    """Flow of the neighbouring frames of every video, one result a video.

    Results are complete or not there, however often a worker dies; run again, what is there already (of the same video,
    with the same settings) is left.

    Args:
        paths: a folder and all below it, a glob, a text file with a path on each line, a video, or several of these.
        out: the output folder; a video's result lies where the video lies in its folder.
        engine: "local", one video after the other here; or "ray", on a pool of Ray actors (extra `ray`).
        workers: Ray actors.
        num_cpus, num_gpus: of each actor. Each uses `num_cpus` threads.
        retries: how often Ray starts an actor again, and tries a video again.
        say: prints one line for the user.
        options: `model`, `weights`; `format` ("zarr", "jpeg", "mp4", "flo", "npy", ..., "none"); `pattern` of names;
            `shard`, (index, count); `continue_on_error`; `motion_score`, a .parquet, .csv or .jsonl file; and the
            fields of `Job`.

    Returns:
        How many videos were done, skipped and failed.

    Raises:
        InputError: see `plan`; or a video failed and `continue_on_error` is not set.
    """
    if engine not in ENGINES:
        raise InputError(f"there is no engine {engine!r}: give local or ray")
    planned = plan(paths, out, **options)
    if engine == "local":
        return planned(say=say)
    if workers < 1 or num_cpus <= 0 or num_gpus < 0 or retries < 0:
        raise InputError("--workers must be at least 1, --num-cpus above 0, --num-gpus and retries not below 0")
    ray_module()
    return planned(RayEngine(workers, num_cpus, num_gpus, retries), say)


def _chosen(model: str | None, weights: str | None) -> tuple[str, str]:
    """Names of the network and its weights; each finds the other."""
    from flowzoo import registry
    from flowzoo.checkpoints import model_of_weights
    from flowzoo.creation import default_weights

    if model is None:
        model = DEFAULT_MODEL if weights is None else model_of_weights(weights)
    registry.require_task(model, "flow")
    return model, weights or default_weights(model)
