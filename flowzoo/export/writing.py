"""From a network to a file that has been run."""

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import torch

from flowzoo import registry
from flowzoo.errors import InputError
from flowzoo.export import onnx_file, pt2_file
from flowzoo.export.checked import LARGEST_DIFFERENCE, Checked, check
from flowzoo.export.program import exportable, trace
from flowzoo.export.shape import Shape
from flowzoo.files.atomic import replacing
from flowzoo.network import FlowNetwork

SUFFIXES = (".onnx", ".pt2")


def check_suffix(path: str | os.PathLike[str]) -> str:
    """The suffix of a file that can be written.

    Raises:
        InputError: it is another one.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"-o {path}: give the file the suffix .onnx or .pt2, which decides the format")
    return suffix


def write(
    network: FlowNetwork,
    path: str | os.PathLike[str],
    shape: Shape,
    precision: torch.dtype | None,
    facts: dict[str, Any],
) -> Checked:
    """See `flowzoo.export.export_network`."""
    suffix = check_suffix(path)
    if not isinstance(network, FlowNetwork):
        raise InputError(f"only networks for flow can be exported, not {type(network).__name__}")
    if suffix == ".onnx":
        onnx_file.require_libraries()
    precision = precision or torch.float32
    if precision not in LARGEST_DIFFERENCE:
        raise InputError(f"precision must be float32, float16 or bfloat16, got {precision}")
    if suffix == ".onnx" and precision == torch.bfloat16:
        raise InputError("ONNX's convolutions take no bfloat16: use float16 or float32, or write .pt2")
    program, notes = exportable(network, precision)
    graph = trace(program, shape)
    described = describe(network, shape, precision, notes, facts)
    found = Checked(notes=notes)
    with replacing(path) as temporary:
        try:
            if suffix == ".onnx":
                onnx_file.save(graph, temporary, described, shape.dynamic)
                run = partial(onnx_file.run, temporary)
            else:
                pt2_file.save(graph, temporary, described)
                run = partial(pt2_file.run, temporary)
            check(program, run, shape.checked(network.multiple), found)
        except InputError as error:
            raise InputError(f"{path} is not kept: {network.model_name} {error}") from error
        found.bytes = temporary.stat().st_size
    return found


def describe(
    network: FlowNetwork, shape: Shape, precision: torch.dtype, notes: list[str], facts: dict[str, Any]
) -> dict[str, str]:
    """What the file says about itself; every value is a text."""
    own = {
        "model": network.model_name,
        "settings": json.dumps(registry.changed_settings(network), sort_keys=True),
        "multiple": str(shape.multiple(network.multiple)),
        "sizes": shape.text(network.multiple),
        "precision": str(precision).removeprefix("torch."),
        "inputs": "first, second: (batch,3,height,width) float32, RGB in 0..1",
        "output": "flow: (batch,2,height,width) float32, x then y, pixels; first(p) is found at second(p + flow)",
        "left_out": "; ".join(notes),
    }
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in facts.items()} | own
