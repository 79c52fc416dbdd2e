"""Options that several verbs share, and what they stand for. No torch at import time."""

import argparse
from typing import TYPE_CHECKING, Any

from flowzoo.errors import InputError

if TYPE_CHECKING:
    import torch

    from flowzoo.network import FlowNetwork

DEFAULT_MODEL = "wren"
"""The network of `flowzoo infer` without options; its weights ship with the package."""


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """--model, --weights, --set, --device, --precision."""
    model = parser.add_argument_group("model")
    model.add_argument(
        "--model",
        metavar="NAME",
        help=f"a network of `flowzoo models` (default: that of --weights, else {DEFAULT_MODEL})",
    )
    model.add_argument("--weights", metavar="TAG|FILE", help="a tag of `flowzoo weights list`, or a file")
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
    parser.add_argument("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16", "float16"),
        default="float32",
        help="of the convolutions; float16 needs CUDA (default: float32)",
    )


def parse_settings(pairs: list[str]) -> dict[str, str]:
    """["a=1", "b=x"] -> {"a": "1", "b": "x"}.

    Raises:
        InputError: a word without "=".
    """
    settings = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise InputError(f"--set takes KEY=VALUE, got {pair!r}")
        settings[key.strip()] = value.strip()
    return settings


def pick_device(text: str) -> "torch.device":
    """The device that "auto", "cpu", "cuda" or "cuda:N" stands for.

    Raises:
        InputError: the device is not there.
    """
    import torch

    if text == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = text.partition(":")
    if kind == "cpu" and not index:
        return torch.device("cpu")
    if kind != "cuda" or (index and not index.isdigit()):
        raise InputError(f"--device cannot be {text!r}: give auto, cpu, cuda or cuda:N")
    if not torch.cuda.is_available():
        raise InputError(f"--device {text}: this machine has no CUDA device, or torch was built without CUDA; use cpu")
    if index and int(index) >= torch.cuda.device_count():
        raise InputError(f"--device {text}: there are only {torch.cuda.device_count()} CUDA devices, counted from 0")
    return torch.device(text)


def pick_precision(text: str, device: "torch.device") -> "torch.dtype":
    """The type that convolutions run in.

    Raises:
        InputError: float16 on a CPU.
    """
    import torch

    if text == "float16" and device.type == "cpu":
        raise InputError("--precision float16 needs a CUDA device: on a CPU use bfloat16 or float32")
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[text]


def make_network(arguments: argparse.Namespace) -> "tuple[FlowNetwork, str]":
    """The network that the model options describe, on its device, in eval mode, and its weights' tag or file.

    Raises:
        InputError: no weights are known for it, or any of the options is wrong.
    """
    from flowzoo import registry

    device = pick_device(arguments.device)
    pick_precision(arguments.precision, device)
    settings: dict[str, Any] = parse_settings(arguments.set)
    name, weights = choose(arguments.model, arguments.weights)
    return registry.create(name, weights, **settings).to(device), weights


def choose(model: str | None, weights: str | None) -> tuple[str, str]:
    """Model name and weights from what was given: either one finds the other where that is possible.

    Raises:
        InputError: unknown names, or a model without default weights and none given.
    """
    from flowzoo import registry
    from flowzoo.checkpoints import model_of_weights

    if model is None:
        model = DEFAULT_MODEL if weights is None else model_of_weights(weights)
    return model, weights or registry.default_weights(model)
