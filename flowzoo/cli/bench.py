"""`flowzoo bench`: times a network, optionally against another; `flowzoo bench operators` the operators."""

import argparse

from flowzoo.errors import InputError

HELP = "Time a network here (median, spread, peak memory), optionally against another; or the operators."

EXAMPLES = """examples:
  flowzoo bench --model liteflownet2 --against pwcnet
  flowzoo bench --model pwcnet --size 1920x1080 --precision bfloat16 --threads 4
  flowzoo bench operators

Weights are random (time does not depend on them). Each network runs in a process of its own; the two take turns, so
that both see the same machine. tools/compare_with_ptlflow.py does the same against ptlflow."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    import flowzoo.cli.bench_operators as bench_operators
    from flowzoo.cli.common import add_device_arguments

    parser.epilog = EXAMPLES
    parser.add_argument("what", nargs="?", choices=("network", "operators"), default="network", help="default: network")
    group = parser.add_argument_group("network")
    group.add_argument("--model", metavar="NAME", default="pwcnet", help="default: pwcnet")
    group.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="a setting of --model")
    group.add_argument("--against", metavar="NAME", help="another network, for the ratio")
    group.add_argument("--size", default="1024x436", metavar="WxH", help="width x height in pixels (default: 1024x436)")
    group.add_argument("--batch-size", type=int, default=1, metavar="N")
    group.add_argument("--repeat", type=int, default=7, metavar="N", help="timed calls of each (default: 7)")
    group.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: torch's)")
    add_device_arguments(parser)
    bench_operators.add_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Do it.

    Raises:
        InputError: a wrong name, size or device.
    """
    import flowzoo.cli.bench_operators as bench_operators

    if arguments.what == "operators":
        bench_operators.run(arguments)
        return
    for name in ("batch_size", "repeat"):
        if getattr(arguments, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} must be at least 1")
    from flowzoo.cli.common import parse_size
    from flowzoo.timing.networks import NetworkTask, time_networks

    width, height = parse_size(arguments.size)
    shared = {
        "height": height,
        "width": width,
        "batch": arguments.batch_size,
        "device": arguments.device,
        "precision": arguments.precision,
        "threads": arguments.threads,
    }
    tasks = [NetworkTask(model=arguments.model, settings=tuple(arguments.set), **shared)]
    if arguments.against:
        tasks.append(NetworkTask(model=arguments.against, **shared))
    print(f"{width}x{height}, batch {arguments.batch_size}, {arguments.precision}, {arguments.device}")
    print(f"{'model':24s} {'median s':>9s} {'best s':>8s} {'worst s':>8s} {'peak MB':>8s}")
    timings = time_networks(tasks, arguments.repeat)
    for task, timing in zip(tasks, timings, strict=True):
        peak = "-" if timing.memory is None else f"{timing.memory / 1e6:.0f}"
        print(f"{task.model:24s} {timing.median:9.3f} {timing.best:8.3f} {timing.worst:8.3f} {peak:>8s}")
    if len(timings) == 2:
        ratio = timings[0].median / timings[1].median
        print(f"{arguments.model} takes {ratio:.2f} of {arguments.against}'s time")
