"""Export networks and say how far each file's flow is from the network's, beside float64: the table of docs/export.md.

    OMP_NUM_THREADS=1 python tools/check_export.py                      # every network in every form that it has
    OMP_NUM_THREADS=1 python tools/check_export.py pwcnet hd3 --forms dynamic
    OMP_NUM_THREADS=1 python tools/check_export.py raft --weights raft.safetensors --pair frame1.png frame2.png
    OMP_NUM_THREADS=1 python tools/check_export.py hd3 --trained 100    # a hundred steps on rendered pairs before

Networks have random weights (seed 0) unless they ship some or --weights names some. --pair takes a photographed pair in
place of textures, resized to each size that is compared; all are of whole grey levels. Each pair is run by
onnxruntime, by the network in float32 with flowzoo's kernels, by it with PyTorch's operators alone, and by it in
float64. Where both float32 runs of the network are as far from float64 as the file is, what is left is rounding. Random
weights can give flows of hundreds of pixels, of which rounding is a share: --flow 20 makes them as short as those of
real pairs by smaller weights, and --trained 100 by a few steps of training, minutes for most networks.
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
import torch.nn.functional as F
from brief_training import train_briefly
from torch import Tensor

from flowzoo import registry
from flowzoo.creation import create_flow_network
from flowzoo.export import Shape, export_network, onnx_file
from flowzoo.export.checked import sample_pair
from flowzoo.export.program import exportable
from flowzoo.files.images import read_image
from flowzoo.network import FlowNetwork
from flowzoo.operators.registration import plain_operators

GOAL = 1e-4
"""Pixels; the share of flow components that differ by more is said."""
MOST_STEPS = 40
FEW = 8
"""Steps of training, whose mean error is said."""
STATIC = Shape((72, 100), 2)
HEAD = (
    "| network | form | file - network, px | beyond 1e-4 | file - float64 | network - float64 | portable - float64 "
    "| flows up to, px | CPU seconds | MB |\n|---|---|---|---|---|---|---|---|---|---|"
)


def network_of(name: str, weights: str | None) -> FlowNetwork:
    """With these weights, those that ship, or random ones."""
    if weights is not None or name == "wren":
        return create_flow_network(name, weights or "wren").eval()
    torch.manual_seed(0)
    few = {"iterations": 3} if name.startswith("raft") else {}
    return create_flow_network(name, None, **few).eval()


def pair_of(paths: list[str] | None, shape: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """The photographs, or else textures, as (batch, height, width) says; (B,3,H,W) in 0..1 twice."""
    if paths is None:
        return sample_pair(*shape)
    batch, *size = shape
    photographs = [torch.from_numpy(read_image(path)).permute(2, 0, 1)[None].float() / 255 for path in paths]
    first, second = (
        F.interpolate(image, size, mode="bilinear", antialias=True).clamp(0, 1).repeat(batch, 1, 1, 1)
        for image in photographs
    )
    return whole_levels(first), whole_levels(second)


def whole_levels(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """The nearest multiples of 1/255, exact in `dtype`: a network that rounds takes the same ones in each precision."""
    return (images * 255).round().to(dtype) / 255


def run(network: FlowNetwork, first: Tensor, second: Tensor) -> Tensor:
    """The flow, float64."""
    with torch.no_grad():
        flow: Tensor = network(first, second).flow
    return flow.double()


def shrink(network: FlowNetwork, longest: float, pair: tuple[Tensor, Tensor]) -> None:
    """Make weights smaller until the flow of `pair` is no longer than `longest` pixels.

    HD3's stays long: it is where a distribution has its peak.
    """
    for _ in range(MOST_STEPS):
        if run(network, *pair).abs().max() <= longest:
            break
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter.data *= 0.95


def row(arguments: argparse.Namespace) -> str:
    """One line of the table."""
    (name,), (form,) = arguments.networks, arguments.forms
    network = network_of(name, arguments.weights)
    if arguments.trained:
        errors = train_briefly(network, arguments.trained)[-FEW:]
        print(f"{name}: EPE {sum(errors) / len(errors):.1f} px in the last steps of training", file=sys.stderr)
    if arguments.flow is not None:
        shrink(network, arguments.flow, pair_of(arguments.pair, (1, 128, 192)))
    shape = Shape() if form == "dynamic" else STATIC
    largest = dict.fromkeys(("file", "share", "file64", "native64", "portable64", "flow"), 0.0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        started = time.process_time()
        export_network(network, path, shape)
        seconds, megabytes = time.process_time() - started, path.stat().st_size / 1e6
        single = exportable(network, torch.float32)[0].network
        double = exportable(network, torch.float64)[0].network
        for compared_at in shape.checked(network.multiple):
            pair = pair_of(arguments.pair, compared_at)
            file, native = onnx_file.run(path, *pair).double(), run(single, *pair)
            with plain_operators():
                portable = run(single, *pair)
            exact = run(double, *(whole_levels(images, torch.float64) for images in pair))
            compared = {
                "file": file - native,
                "share": ((file - native).abs() > GOAL).double().mean(),
                "file64": file - exact,
                "native64": native - exact,
                "portable64": portable - exact,
                "flow": exact,
            }
            for key, difference in compared.items():
                largest[key] = max(largest[key], difference.abs().max().item())
    numbers = " | ".join(f"{largest[key]:.1e}" for key in ("file", "share", "file64", "native64", "portable64"))
    return f"| `{name}` | {form} | {numbers} | {largest['flow']:.3g} | {seconds:.0f} | {megabytes:.1f} |"


def main() -> int:
    """Every row in a process of its own, so that none finds the other's memory or caches."""
    flows = registry.list_models(task="flow")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NAME", help="default: all for flow")
    parser.add_argument("--forms", nargs="+", choices=("dynamic", "static"), default=("dynamic", "static"))
    parser.add_argument("--flow", type=float, metavar="PX", help="shrink random weights until flow is as short as this")
    parser.add_argument("--trained", type=int, default=0, metavar="STEPS", help="train on rendered pairs before")
    parser.add_argument("--weights", metavar="TAG|FILE", help="of the one network that is named")
    parser.add_argument("--pair", nargs=2, metavar="IMAGE", help="two images with 8 bits, in place of textures")
    parser.add_argument("--row", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.row:
        print(row(arguments))
        return 0
    if arguments.weights and len(arguments.networks) != 1:
        parser.error("--weights goes with one network")
    print(HEAD, flush=True)
    failed = 0
    for name in arguments.networks or flows:
        for form in arguments.forms:
            if form == "dynamic" and not registry.build(name).any_size_once_traced:
                continue
            command = [sys.executable, __file__, name, "--forms", form, "--row"]
            command += [] if arguments.flow is None else ["--flow", str(arguments.flow)]
            command += ["--trained", str(arguments.trained)]
            command += [] if arguments.weights is None else ["--weights", arguments.weights]
            command += [] if arguments.pair is None else ["--pair", *arguments.pair]
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
            failed += bool(done.returncode)
            said = done.stderr.strip().splitlines() or ["nothing"]
            print(done.stdout.strip() if done.returncode == 0 else f"{name} {form}: {said[-1]}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
