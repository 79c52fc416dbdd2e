"""`flowzoo infer` over an archive of videos: its options, and when they are meant. No torch at import time."""

import argparse
import os
from pathlib import Path
from typing import Any

from flowzoo.errors import InputError, counted

ENGINES = ("local", "ray")
FORMATS = ("zarr", "jpeg", "mp4", "none")
"""Beside those of flow files."""
REFUSED = (
    "backward",
    "occlusion",
    "warped",
    "confidence",
    "arrows",
    "stmap",
    "picture",
    "legend",
    "warm_start",
    "pairs",
)
"""Options of single sources that an archive's one result a video has no room for."""
PASSED_ON = ("clip", "partial", "scale", "device", "precision", "batch_size")
ALWAYS = ("videos", "shard", "continue_on_error", "motion_score", "bound", "workers", "num_gpus", "num_cpus")
"""Options that are meant for archives alone."""


def add_archive_arguments(parser: argparse.ArgumentParser) -> None:
    """The options for archives."""
    archive = parser.add_argument_group("archives of videos (docs/archives.md)")
    archive.add_argument(
        "--videos", metavar="WHAT", help="a folder and all below it, a glob, or a .txt list: one result a video"
    )
    archive.add_argument(
        "--shard", metavar="I/N", help="only the I-th of N parts, for job arrays; I counts from 1 or 0"
    )
    archive.add_argument(
        "--continue-on-error", action="store_true", help="go on past videos that fail; failures.jsonl lists them"
    )
    archive.add_argument("--bound", type=float, metavar="PIXELS", help="of --format jpeg: 0 and 255 (default: 20)")
    archive.add_argument(
        "--motion-score", metavar="FILE", help=".parquet, .csv or .jsonl: how much each video moves, a row a video"
    )
    archive.add_argument("--engine", choices=ENGINES, default="local", help="ray: a pool of Ray actors")
    archive.add_argument("--workers", type=int, metavar="N", help="Ray actors (default: 1)")
    archive.add_argument("--num-gpus", type=float, metavar="N", help="of each actor, also a fraction (default: 0)")
    archive.add_argument("--num-cpus", type=float, metavar="N", help="of each actor, and its threads (default: 1)")


def is_archive(arguments: argparse.Namespace) -> bool:
    """Whether the command is about several videos, or has an option of archives."""
    if arguments.others or arguments.engine != "local" or arguments.format in FORMATS:
        return True
    if any(getattr(arguments, name) not in (None, False) for name in ALWAYS):
        return True
    if arguments.first is None or arguments.first == "-":
        return False
    from flowzoo.archive import videos

    if arguments.second is not None:
        return all(Path(name).suffix.lower() in videos.SUFFIXES for name in (arguments.first, arguments.second))
    return videos.is_archive(arguments.first)


def run_archive(arguments: argparse.Namespace) -> None:
    """Do it.

    Raises:
        InputError: see `flowzoo.archive.infer`, or options that an archive has no room for.
    """
    words = [word for word in (arguments.first, arguments.second, *arguments.others) if word is not None]
    if arguments.videos is not None and words:
        raise InputError("give either --videos or the videos themselves, not both")
    if arguments.videos is None and not words:
        raise InputError("which videos? give them, their folder, or --videos")
    lost = [f"--{name.replace('_', '-')}" for name in REFUSED if getattr(arguments, name)]
    if lost:
        raise InputError(f"{', '.join(lost)}: an archive has one result a video; drop it, or give one video")
    if arguments.engine != "ray" and (arguments.workers is not None or arguments.num_gpus is not None):
        raise InputError("--workers and --num-gpus are of --engine ray: add that, or drop them")
    if arguments.bound is not None and arguments.format != "jpeg":
        raise InputError("--bound is of --format jpeg: add that, or drop --bound")
    if arguments.max_flow is not None and arguments.format != "mp4":
        raise InputError("--max-flow is of --format mp4 in an archive: add that, or drop --max-flow")
    import flowzoo.archive
    from flowzoo.archive.videos import parse_shard
    from flowzoo.cli.common import choose
    from flowzoo.devices import pick_device, pick_precision
    from flowzoo.settings import parse_settings

    pick_precision(arguments.precision, pick_device(arguments.device))
    model, weights = choose(arguments.model, arguments.weights, arguments.entry)
    given: dict[str, Any] = {name: getattr(arguments, name) for name in ("bound", "max_flow", "memory", "workers")}
    given |= {name: getattr(arguments, name) for name in ("num_gpus", "num_cpus")}
    if arguments.num_cpus is not None:
        given["threads"] = max(1, int(arguments.num_cpus))
    settings: dict[str, Any] = parse_settings(arguments.set)
    summary = flowzoo.archive.infer(
        words or arguments.videos,
        "flow" if arguments.output is None else arguments.output,
        engine=arguments.engine,
        model=model,
        weights=weights,
        settings=settings | ({"entry": arguments.entry} if arguments.entry else {}),
        format=arguments.format or "flo",
        pattern=arguments.pattern,
        shard=None if arguments.shard is None else parse_shard(arguments.shard),
        continue_on_error=arguments.continue_on_error,
        motion_score=arguments.motion_score,
        skip_existing=arguments.skip_existing,
        **{
            name: getattr(arguments, name) for name in ("clip", "partial", "scale", "device", "precision", "batch_size")
        },
        **{name: value for name, value in given.items() if value is not None},
    )
    parts = [f"{counted(summary.done, 'video')} done, {counted(summary.pairs, 'pair')}"]
    parts += [f"{summary.skipped} there already"] * bool(summary.skipped)
    parts += [f"{summary.failed} failed, listed in {os.fspath(summary.failures or '')}"] * bool(summary.failed)
    print("; ".join(parts))
