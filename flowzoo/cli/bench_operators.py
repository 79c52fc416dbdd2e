"""`flowzoo bench operators`: every operator and backend, as a table."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowzoo.timing.operators import Row


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `bench operators`, beside --device and --threads."""
    group = parser.add_argument_group("operators")
    group.add_argument(
        "--shapes",
        metavar="NAME,...",
        help='sizes to time at, by name or part of it, such as "pwc,512x32x32" (default: pwc)',
    )
    group.add_argument("--seconds", type=float, default=0.2, metavar="S", help="for each time (default: 0.2)")
    group.add_argument("--json", metavar="FILE", help="also write the table for machines")


def run(arguments: argparse.Namespace) -> None:
    """Time the operators and print the table.

    Raises:
        InputError: an unknown shape or device, or a file that cannot be written.
    """
    import torch

    from flowzoo.devices import pick_device
    from flowzoo.errors import InputError
    from flowzoo.files.run_files import RunFiles
    from flowzoo.timing import operators as benchmark
    from flowzoo.timing.operator_cases import NAMES, cases

    wanted = [part.strip() for part in (arguments.shapes or "pwc").split(",")]
    shapes = [name for name in NAMES if any(part in name for part in wanted)]
    if not shapes or not all(any(part in name for name in NAMES) for part in wanted):
        raise InputError(f"no shape {arguments.shapes!r}: choose among {', '.join(NAMES)}")
    if not arguments.seconds > 0:
        raise InputError("--seconds must be positive")
    threads = arguments.threads
    if threads is not None:
        if threads < 1:
            raise InputError("--threads must be at least 1")
        torch.set_num_threads(threads)
    device = pick_device(arguments.device)
    if arguments.json:
        files = RunFiles()
        files.writes(arguments.json, "the table")
        files.check()
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{where}; float32; x = times as fast as the first version in the same run")
    print(header())
    rows = []
    for case in cases(device, shapes):
        for row in benchmark.measure(case, device, arguments.seconds):
            rows.append(row)
            print(line(row), flush=True)
    if arguments.json:
        _write_json(arguments.json, where, rows)


def header() -> str:
    """The column titles."""
    return (
        f"{'operator':30s} {'shape':20s} {'backend':9s} {'time us':>9s} {'x':>6s} {'GFLOP/s':>8s} {'GB/s':>7s} "
        f"{'roofline':>8s} {'host us':>7s}"
    )


def line(row: "Row") -> str:
    """One result as a line under `header`."""
    roofline = "-" if row.roofline_share is None else f"{100 * row.roofline_share:.0f} %"
    host = "-" if row.host_seconds is None else f"{row.host_seconds * 1e6:.1f}"
    return (
        f"{row.operator:30s} {row.shape:20s} {row.backend:9s} {row.seconds * 1e6:9.1f} {row.ratio:6.2f} "
        f"{row.gflops:8.1f} {row.gigabytes_per_second:7.2f} {roofline:>8s} {host:>7s}"
    )


def _write_json(path: str, where: str, rows: list["Row"]) -> None:
    import dataclasses
    import json

    from flowzoo.files.atomic import replacing

    with replacing(path) as temporary:
        temporary.write_text(json.dumps({"device": where, "rows": [dataclasses.asdict(row) for row in rows]}, indent=1))
