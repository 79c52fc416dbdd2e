"""`flowzoo export`: a network as an ONNX or .pt2 file that runs without flowzoo."""

import argparse
import time
from typing import TYPE_CHECKING, Any

from flowzoo.errors import InputError

if TYPE_CHECKING:
    from flowzoo.network import FlowNetwork

HELP = "A flow network as one file that runs without flowzoo: .onnx, or .pt2 for torch.export.load."

EXAMPLES = """examples:
  flowzoo export wren -o wren.onnx --dynamic
  flowzoo export pwcnet --weights pwcnet.safetensors -o pwcnet.onnx --size 1024x448 --batch 2
  flowzoo export raft --random-weights -o raft.pt2 --dynamic

Inputs `first` and `second` are (B,3,H,W) float32 RGB in 0..1; output `flow` is (B,2,H,W) in pixels, x then y. Sides of
the images of a --dynamic file are multiples of 64, from 128 up. The file is run and compared with the network before
it is kept. docs/export.md says more. Extra: pip install "flowzoo[export]" (for .onnx)."""

RANDOM = "random"
"""What a file without trained weights says about them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    parser.epilog = EXAMPLES
    parser.add_argument("name", metavar="NAME", help="a network for flow (`flowzoo models --task flow`)")
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="the .onnx or .pt2 file to write")
    weights = parser.add_mutually_exclusive_group()
    weights.add_argument("--weights", metavar="TAG|FILE", help="default: those that ship, where there are any")
    weights.add_argument("--random-weights", action="store_true", help="for trying how a runtime does")
    parser.add_argument("--entry", metavar="NAME", help="which of several sets of weights in a training script's file")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="change a setting of the network"
    )
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--size", metavar="WxH", help="the one size of images that the file takes: width x height")
    size.add_argument("--dynamic", action="store_true", help="any sides of 128, 192, 256, ... and any batch up to 64")
    parser.add_argument("--batch", type=int, metavar="N", help="pairs at a time, with --size (default: 1)")
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16", "float16"),
        default="float32",
        help="of the weights and of what is computed inside (default: float32)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Do it.

    Raises:
        InputError: see the messages.
    """
    from flowzoo import registry
    from flowzoo.cli.common import parse_size
    from flowzoo.export import Shape, export_network
    from flowzoo.export.writing import check_suffix

    registry.require_task(arguments.name, "flow")
    check_suffix(arguments.output)
    if arguments.dynamic and arguments.batch is not None:
        raise InputError("--batch goes with --size: a --dynamic file takes any batch up to 64")
    shape = Shape()
    if arguments.size:
        width, height = parse_size(arguments.size)
        shape = Shape((height, width), 1 if arguments.batch is None else arguments.batch)
    _check_files(arguments)
    import torch

    from flowzoo import __version__

    started = time.monotonic()
    network, facts = _network(arguments)
    precision = getattr(torch, arguments.precision)
    found = export_network(network, arguments.output, shape, precision, flowzoo=__version__, **facts)
    seconds = time.monotonic() - started
    places = " and ".join(f"{width}x{height} (batch {batch})" for batch, height, width in found.shapes)
    without = "".join(f", {note}" for note in found.notes)
    print(f"{arguments.output}: {arguments.name}{without}; {shape.text(network.multiple)}; {facts['licence']}")
    print(
        f"run at {places}: at most {found.largest:.1e} px from the network; {found.bytes / 1e6:.1f} MB, {seconds:.0f} s"
    )
    if found.rounding:
        print(f"the network itself is up to {found.rounding:.1e} px from float64: its flow depends on the last bits")


def _network(arguments: argparse.Namespace) -> "tuple[FlowNetwork, dict[str, Any]]":
    """The network, and what its file shall say about the weights."""
    from flowzoo.creation import create_flow_network, default_weights
    from flowzoo.settings import parse_settings

    options: dict[str, Any] = parse_settings(arguments.set)
    if arguments.random_weights:
        if arguments.entry:
            raise InputError(f"--entry {arguments.entry} chooses within a file: give it with --weights")
        network = create_flow_network(arguments.name, None, **options)
        return network, {"weights": RANDOM, "licence": "no trained weights"}
    weights = arguments.weights
    if weights is None:
        from flowzoo.registry import card

        if not card(arguments.name).default_weights:
            raise InputError(
                f"{arguments.name} has no weights of its own: give --weights TAG|FILE, or --random-weights to try"
            )
        weights = default_weights(arguments.name)
    entry = {"entry": arguments.entry} if arguments.entry else {}
    network = create_flow_network(arguments.name, weights, **options, **entry)
    return network, _facts(weights)


def _facts(weights: str) -> dict[str, Any]:
    """Tag or file name, and licence, of weights that have been loaded."""
    from pathlib import Path

    from flowzoo.checkpoints import describe
    from flowzoo.checkpoints.index import entries

    entry = entries().get(weights)
    if entry is not None:
        return {"weights": entry.tag, "licence": f"licence of the weights: {entry.licence}"}
    found = describe(weights)
    known = entries()[found["tags"][0]] if found["tags"] else None
    licence = found["facts"].get("licence") or (known.licence if known else "unknown")
    name = found["facts"].get("tag") or (known.tag if known else Path(weights).name)
    if weights.startswith("hub:"):
        name = weights
    return {"weights": name, "licence": f"licence of the weights: {licence}"}


def _check_files(arguments: argparse.Namespace) -> None:
    from flowzoo.files.run_files import RunFiles

    files = RunFiles()
    files.reads(arguments.weights)
    files.writes(arguments.output, "the exported network")
    files.check()
