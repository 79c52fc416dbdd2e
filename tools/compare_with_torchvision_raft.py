"""Times flowzoo's RAFT against torchvision's on this machine, in one run that takes turns, and compares their flow.

    python tools/compare_with_torchvision_raft.py                 # the rows of the README's table
    python tools/compare_with_torchvision_raft.py --size 512x384 --iterations 20 --pairs raft/bfloat16:raft_large

torchvision is put into a folder of its own (default: beside the cache of flowzoo's weights), so that both run on the
same torch. Its compiled operators are not needed: where its library does not fit this torch, their names get a
stand-in. Both networks have the same random weights; the largest difference of their flow is printed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

PAIRS = "raft:raft_large,raft-small:raft_small"

WORKER = r"""
import json, sys, time
side, name, width, height, threads, precision, iterations, weights, *folders = sys.argv[1:]
sys.path[:0] = folders
import torch
torch.set_num_threads(int(threads))
torch.manual_seed(0)
images = torch.rand(2, 1, 3, int(height), int(width))
precision = getattr(torch, precision)
if side == "torchvision":
    library = torch.library.Library("torchvision", "DEF")
    for stand_in in ("nms", "qnms"):
        library.define(stand_in + "(Tensor boxes, Tensor scores, float threshold) -> Tensor")
    from torchvision.models import optical_flow
    network = getattr(optical_flow, name)().eval()
    for parameter in network.state_dict().values():
        if parameter.is_floating_point() and parameter.dim() > 1:
            parameter.mul_(0.5)  # or the flow of random weights would be huge
    torch.save(network.state_dict(), weights)
    rows, columns = (-size % 8 for size in (int(height), int(width)))
    padding = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
    def call():
        with torch.inference_mode(), torch.autocast("cpu", precision, enabled=precision != torch.float32):
            padded = [torch.nn.functional.pad(2 * image - 1, padding, mode="replicate") for image in images]
            flow = network(*padded, num_flow_updates=int(iterations))[-1]
            return flow[..., padding[2] : padding[2] + int(height), padding[0] : padding[0] + int(width)]
else:
    import flowzoo
    from flowzoo.inference.estimator import Estimator
    estimator = Estimator(flowzoo.create(name, weights=weights, iterations=int(iterations)), precision)
    def call():
        return estimator.predict(*images).flow
print("ready", flush=True)
for line in sys.stdin:
    if line.strip() == "flow":
        print(json.dumps(call()[0, :, ::8, ::8].flatten().tolist()), flush=True)
    else:
        began = time.perf_counter()
        call()
        print(json.dumps(time.perf_counter() - began), flush=True)
"""


def torchvision_folder(folder: Path) -> Path:
    """A folder that holds the torchvision which belongs to this torch; made on first use."""
    import torch

    major, minor = torch.__version__.split(".")[:2]
    version = f"0.{int(minor) + 15}.0"  # 2.13 goes with 0.28
    if major != "2":
        raise SystemExit(f"which torchvision belongs to torch {torch.__version__} is not known here")
    if not (folder / "complete").is_file():
        print(f"putting torchvision {version} into {folder}", flush=True)
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--upgrade", "--target", str(folder)]
        subprocess.run([*pip, f"torchvision=={version}"], check=True)
        (folder / "complete").touch()
    return folder


class Worker:
    """A process that holds one network and runs it when asked."""

    def __init__(self, side: str, name: str, weights: Path, folders: list[str], options: argparse.Namespace) -> None:
        name, _, precision = name.partition("/")
        words = [side, name, *options.size.split("x"), str(options.threads), precision or "float32"]
        words += [str(options.iterations), str(weights), *folders]
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        while (line := self._line()) != "ready":
            print(line, file=sys.stderr)

    def _line(self) -> str:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a timed process ended early; see its message above")
        return line.strip()

    def ask(self, what: str) -> float | list[float]:
        """Seconds for "time"; every 8th row and column of the flow for "flow"."""
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return json.loads(self._line())

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait(20)


def compare(pair: str, folder: Path, options: argparse.Namespace) -> None:
    """Print one row of the table."""
    ours, _, theirs = pair.partition(":")
    weights = folder / f"random-{theirs.partition('/')[0]}.pth"
    other = Worker("torchvision", theirs, weights, [str(folder)], options)
    own = Worker("flowzoo", ours, weights, [str(Path(__file__).resolve().parents[1])], options)
    flows = [worker.ask("flow") for worker in (own, other)]
    turns = [[worker.ask("time") for worker in (own, other)] for _ in range(options.repeat)]
    seconds = [statistics.median(turn[side] for turn in turns) for side in (0, 1)]
    for worker in (own, other):
        worker.close()
    apart, largest = max(abs(a - b) for a, b in zip(*flows, strict=True)), max(map(abs, flows[1]))
    print(
        f"{ours:24s} {seconds[0]:7.3f}   {theirs:16s} {seconds[1]:7.3f}   {seconds[0] / seconds[1]:5.2f}   "
        f"{apart:.1e} of {largest:.1f} px",
        flush=True,
    )


def main() -> None:
    """Print the table."""
    cache = Path(os.environ.get("FLOWZOO_CACHE") or Path.home() / ".cache" / "flowzoo")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", default=PAIRS, help=f"ours[/precision]:theirs[/precision],... (default: {PAIRS})")
    parser.add_argument("--size", default="1024x436", help="WIDTHxHEIGHT (default: 1024x436)")
    parser.add_argument("--iterations", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--folder", type=Path, default=cache / "torchvision", help="where torchvision is put")
    options = parser.parse_args()
    folder = torchvision_folder(options.folder)
    print(
        f"{options.size}, {options.iterations} iterations, {options.threads} threads, median of {options.repeat} turns"
    )
    print(f"{'flowzoo':24s} {'s':>7s}   {'torchvision':16s} {'s':>7s}   {'ratio':>5s}   largest difference of the flow")
    for pair in options.pairs.split(","):
        compare(pair, folder, options)


if __name__ == "__main__":
    main()
