"""Is a training step on the CPU faster or slower than it was in another checkout of this repository?

    git worktree add ../before COMMIT
    python tools/compare_training_steps.py ../before . wren:bfloat16 wren pwcnet [--size 448x320] [--repeat 15]

Forward, backward and the optimiser's step of one pair, in the memory layout of `flowzoo train`. Each checkout has a
process of its own, and they take turns, step by step: a machine's speed changes within seconds. Prints the medians and
their ratio, and that of the fastest. Run nothing beside it.
"""

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

CLOCK = """
import sys, time
checkout, name, precision, width, height, threads = sys.argv[1:]
sys.path.insert(0, checkout)
import torch
import flowzoo
from flowzoo import freed_memory, registry
assert flowzoo.__file__.startswith(checkout), flowzoo.__file__
freed_memory.keep_freed_memory()
torch.set_num_threads(int(threads))
torch.manual_seed(0)
images = torch.rand(2, 1, 3, int(height), int(width)).unbind()
network = registry.build(name).train()
network.to(memory_format=torch.channels_last)
optimizer = torch.optim.Adam(network.parameters(), lr=1e-5)
dtype = getattr(torch, precision)
print("ready", flush=True)
for _ in sys.stdin:
    begin = time.perf_counter()
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        prediction = network(*images)
    (prediction.flow.abs().mean() + sum(level.abs().mean() for level in prediction.pyramid)).backward()
    optimizer.step()
    optimizer.zero_grad()
    print(time.perf_counter() - begin, flush=True)
"""


def clock(checkout: Path, *settings: str) -> "subprocess.Popen[str]":
    """A process that makes a step for every line it is sent, and answers with its seconds."""
    command = [sys.executable, "-c", CLOCK, str(checkout.resolve()), *settings]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/")


def answer(process: "subprocess.Popen[str]") -> str:
    """Its next line; it is an error to end without one."""
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    if not line:
        sys.exit(f"{process.args[3]} ended: see above")  # type: ignore[index]
    return line


def step(process: "subprocess.Popen[str]") -> float:
    """Seconds of one."""
    assert process.stdin is not None
    process.stdin.write("step\n")
    process.stdin.flush()
    return float(answer(process))


def main() -> None:
    """Read the options, time, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("networks", nargs="+", metavar="NAME[:PRECISION]")
    parser.add_argument("--size", default="448x320", metavar="WxH")
    parser.add_argument("--repeat", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    for name, _, precision in (network.partition(":") for network in options.networks):
        settings = name, precision or "float32", *options.size.split("x"), str(options.threads)
        both = [clock(checkout, *settings) for checkout in (options.before, options.after)]
        for process in both:
            answer(process)
        for process in both * 2:  # the first steps are slower
            step(process)
        times: tuple[list[float], list[float]] = ([], [])
        for turn in range(options.repeat):
            for index in (0, 1) if turn % 2 else (1, 0):
                times[index].append(step(both[index]))
        for process in both:
            process.communicate()
        before, after = map(statistics.median, times)
        fastest = min(times[1]) / min(times[0])
        print(
            f"{name:14s} {settings[1]:9s} {before:.3f} -> {after:.3f} s: {after / before:.3f} (fastest {fastest:.3f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
