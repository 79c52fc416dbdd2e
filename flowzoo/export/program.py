"""A network as a torch.export program of plain PyTorch operators."""

import warnings
from typing import cast

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from flowzoo import registry
from flowzoo.errors import InputError
from flowzoo.export.shape import LEAST_MULTIPLES, MOST_MULTIPLES, MOST_PAIRS, Shape
from flowzoo.network import FlowNetwork
from flowzoo.operators.registration import plain_operators

LONGEST_REASON = 300
"""Characters of what torch says about a failure that are shown."""


class FlowProgram(nn.Module):
    """Images in, flow out: what is exported of a network."""

    def __init__(self, network: FlowNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """(B,3,H,W) float32 RGB in [0,1] twice -> (B,2,H,W) float32."""
        dtype = next(self.network.parameters()).dtype
        flow: Tensor = self.network(first.to(dtype), second.to(dtype)).flow
        return flow.to(torch.float32)


def exportable(network: FlowNetwork, precision: torch.dtype) -> tuple[FlowProgram, list[str]]:
    """The network as it is exported, on the CPU, and in words what of it is left out.

    It has other settings than `network` where a file cannot hold what these say, or holds it in another form.
    """
    settings = registry.changed_settings(network)
    notes = []
    for name, (value, note) in network.exported_settings.items():
        if note and getattr(network.settings, name) != value:
            notes.append(note)
        settings[name] = value
    copy = cast(FlowNetwork, registry.build(network.model_name, **settings))
    copy.load_state_dict(network.state_dict())
    return FlowProgram(copy.to("cpu", precision).eval()).requires_grad_(False), notes


def trace(program: FlowProgram, shape: Shape) -> ExportedProgram:
    """The program as a graph.

    Raises:
        InputError: it takes no other sizes than the traced one, but is to; or it cannot be traced.
    """
    network = program.network
    if shape.dynamic and not network.any_size_once_traced:
        raise InputError(
            f"{network.model_name} can only be exported for one size (its passes depend on the size): "
            "give --size WIDTHxHEIGHT instead of --dynamic"
        )
    batch, height, width = shape.traced(network.multiple)
    pair = torch.rand(batch, 3, height, width), torch.rand(batch, 3, height, width)
    axes = None
    if shape.dynamic:
        step = shape.multiple(network.multiple)
        rows, columns = (step * Dim(name, min=LEAST_MULTIPLES, max=MOST_MULTIPLES) for name in ("rows", "columns"))
        free = {0: Dim("batch", min=1, max=MOST_PAIRS), 2: rows, 3: columns}
        axes = (free, free)
    try:
        with torch.no_grad(), plain_operators(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.export(program, pair, dynamic_shapes=axes, strict=False)
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{network.model_name} cannot be exported like this: {reason_of(error)}") from error


def reason_of(error: BaseException) -> str:
    """The first sentences of what torch or a runtime says, on one line; of its first cause, which says most."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}..."
