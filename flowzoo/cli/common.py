"""Options that several verbs share, and what they stand for. No torch at import time."""

import argparse
from typing import TYPE_CHECKING, Any, NamedTuple

from flowzoo.errors import InputError

if TYPE_CHECKING:
    import torch

    from flowzoo.network import FlowNetwork, VideoNetwork
    from flowzoo.zoo.card import Task

DEFAULT_MODEL = "wren"
"""The network of `flowzoo infer` without options; its weights ship with the package."""

LARGEST_SIDE = 1 << 16
"""Pixels a side; a larger --size is a slip of the finger."""


def parse_size(text: str) -> tuple[int, int]:
    """Width and height in pixels of "1024x436": (1024, 436). The one form of --size, in every command.

    Raises:
        InputError: it is not of this form, or a side is not within 1 to 65536.
    """
    sides = text.lower().split("x")
    if len(sides) == 2 and all(side.isascii() and side.isdecimal() and len(side) < 9 for side in sides):
        width, height = map(int, sides)
        if 0 < width <= LARGEST_SIDE and 0 < height <= LARGEST_SIDE:
            return width, height
    raise InputError(f"--size is WIDTHxHEIGHT in pixels, such as 1024x436, got {text!r}")


def add_model_arguments(parser: argparse.ArgumentParser, default: str = DEFAULT_MODEL) -> None:
    """--model, --weights, --entry, --set, --device, --precision."""
    model = parser.add_argument_group("model")
    model.add_argument(
        "--model",
        metavar="NAME",
        help=f"a network of `flowzoo models` (default: that of --weights, else {default})",
    )
    model.add_argument("--weights", metavar="TAG|FILE", help="a tag of `flowzoo weights list`, or a file")
    model.add_argument(
        "--entry",
        metavar="NAME",
        help="which of several sets of weights in a training script's file (model_ema, ...)",
    )
    model.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="change a setting of the network (`flowzoo models NAME` lists them); may be repeated",
    )
    add_device_arguments(parser)


def add_device_arguments(parser: argparse.ArgumentParser) -> None:
    """--device and --precision."""
    parser.add_argument(
        "--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda, cuda:N, mps or xpu (default: auto)"
    )
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16", "float16"),
        default="float32",
        help="of the convolutions; float16 needs CUDA (default: float32)",
    )


def make_network(arguments: argparse.Namespace) -> "tuple[FlowNetwork, str]":
    """The network that the model options describe, on its device, in eval mode, and its weights' tag or file.

    Raises:
        InputError: no weights are known for it, it is of another task, or any of the options is wrong.
    """
    from flowzoo.creation import create_flow_network

    chosen = _chosen(arguments, "flow", DEFAULT_MODEL)
    network = create_flow_network(chosen.name, chosen.weights, **chosen.options)
    return network.to(chosen.device), chosen.weights


def make_video_network(arguments: argparse.Namespace, task: "Task", default: str) -> "tuple[VideoNetwork, str]":
    """As `make_network`, for a task on frames; `default` is the network of this task without options.

    Raises:
        InputError: as there.
    """
    from flowzoo.creation import create_video_network

    chosen = _chosen(arguments, task, default)
    network = create_video_network(chosen.name, chosen.weights, **chosen.options)
    return network.to(chosen.device), chosen.weights


class _Chosen(NamedTuple):
    """What the model options say."""

    name: str
    weights: str
    options: dict[str, Any]
    device: "torch.device"


def _chosen(arguments: argparse.Namespace, task: "Task", default: str) -> _Chosen:
    from flowzoo import registry
    from flowzoo.devices import pick_device, pick_precision
    from flowzoo.settings import parse_settings

    device = pick_device(arguments.device)
    pick_precision(arguments.precision, device)
    options: dict[str, Any] = parse_settings(arguments.set)
    entry = arguments.entry
    if entry and not arguments.weights:
        raise InputError(f"--entry {entry} chooses within a file: give it with --weights")
    if arguments.model is not None:
        registry.require_task(arguments.model, task)
    name, weights = choose(arguments.model, arguments.weights, entry, default)
    registry.require_task(name, task)
    return _Chosen(name, weights, options | ({"entry": entry} if entry else {}), device)


def choose(
    model: str | None, weights: str | None, entry: str | None = None, default: str = DEFAULT_MODEL
) -> tuple[str, str]:
    """Model name and weights from what was given: either one finds the other where that is possible.

    Raises:
        InputError: unknown names, or a model without default weights and none given.
    """
    from flowzoo.checkpoints import model_of_weights
    from flowzoo.creation import default_weights

    if model is None:
        model = default if weights is None else model_of_weights(weights, entry)
    return model, weights or default_weights(model)
