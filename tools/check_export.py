"""Export networks and say how far each file's flow is from the network's, beside float64: the table of docs/export.md.

    OMP_NUM_THREADS=1 python tools/check_export.py                      # every network in every form that it has
    OMP_NUM_THREADS=1 python tools/check_export.py pwcnet hd3 --forms dynamic

Networks have random weights (seed 0) unless they ship some. Each pair is run by onnxruntime, by the network in float32
with flowzoo's kernels, by it with PyTorch's operators alone, and by it in float64. Where both float32 runs of
the network are as far from float64 as the file is, what is left is rounding. Random weights can give flows of hundreds
of pixels, of which rounding is a share: --flow 20 makes them as short as those of real pairs.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch

import flowzoo
from flowzoo import registry
from flowzoo.export import Shape, export_network, onnx_file
from flowzoo.export.checked import sample_pair
from flowzoo.export.program import exportable
from flowzoo.network import FlowNetwork
from flowzoo.operators.registration import plain_operators

MOST_STEPS = 40
STATIC = Shape((72, 100), 2)
HEAD = (
    "| network | form | file - network, px | file - float64 | network - float64 | portable - float64 "
    "| flows up to, px | CPU seconds | MB |\n|---|---|---|---|---|---|---|---|---|"
)


def network_of(name: str) -> FlowNetwork:
    """With the weights that ship, or random ones."""
    torch.manual_seed(0)
    few = {"iterations": 3} if name.startswith("raft") else {}
    return flowzoo.create(name, "wren" if name == "wren" else None, **few).eval()


def run(network: FlowNetwork, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """The flow, float64."""
    with torch.no_grad():
        return network(first, second).flow.double()


def shrink(network: FlowNetwork, longest: float) -> None:
    """Make random weights smaller until the flow of a sample pair is no longer than `longest` pixels.

    HD3's stays long: it is where a distribution has its peak.
    """
    pair = sample_pair(1, 128, 192)
    for _ in range(MOST_STEPS):
        if run(network, *pair).abs().max() <= longest:
            break
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter.data *= 0.95


def row(name: str, form: str, longest: float | None) -> str:
    """One line of the table."""
    network = network_of(name)
    if longest is not None:
        shrink(network, longest)
    shape = Shape() if form == "dynamic" else STATIC
    largest = dict.fromkeys(("file", "file64", "native64", "portable64", "flow"), 0.0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        started = time.process_time()
        export_network(network, path, shape)
        seconds, megabytes = time.process_time() - started, path.stat().st_size / 1e6
        single = exportable(network, torch.float32)[0].network
        double = exportable(network, torch.float64)[0].network
        for batch, height, width in shape.checked(network.multiple):
            pair = sample_pair(batch, height, width)
            file, native = onnx_file.run(path, *pair).double(), run(single, *pair)
            with plain_operators():
                portable = run(single, *pair)
            exact = run(double, *(images.double() for images in pair))
            compared = {
                "file": file - native,
                "file64": file - exact,
                "native64": native - exact,
                "portable64": portable - exact,
                "flow": exact,
            }
            for key, difference in compared.items():
                largest[key] = max(largest[key], difference.abs().max().item())
    numbers = " | ".join(f"{largest[key]:.1e}" for key in ("file", "file64", "native64", "portable64"))
    return f"| `{name}` | {form} | {numbers} | {largest['flow']:.3g} | {seconds:.0f} | {megabytes:.1f} |"


def main() -> int:
    """Every row in a process of its own, so that none finds the other's memory or caches."""
    flows = registry.list_models(task="flow")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NAME", help="default: all for flow")
    parser.add_argument("--forms", nargs="+", choices=("dynamic", "static"), default=("dynamic", "static"))
    parser.add_argument("--flow", type=float, metavar="PX", help="shrink random weights until flow is as short as this")
    parser.add_argument("--row", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.row:
        print(row(arguments.networks[0], arguments.forms[0], arguments.flow))
        return 0
    print(HEAD, flush=True)
    failed = 0
    for name in arguments.networks or flows:
        for form in arguments.forms:
            if form == "dynamic" and not registry.build(name).any_size_once_traced:
                continue
            command = [sys.executable, __file__, name, "--forms", form, "--row"]
            command += [] if arguments.flow is None else ["--flow", str(arguments.flow)]
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
            failed += bool(done.returncode)
            said = done.stderr.strip().splitlines() or ["nothing"]
            print(done.stdout.strip() if done.returncode == 0 else f"{name} {form}: {said[-1]}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
