"""The registered operators of variational flow."""

import torch
from torch import Tensor

from flowzoo.operators.registration import register
from flowzoo.operators.variational import cpu, cuda, definition


def _fake_data(first: Tensor, second: Tensor, flow: Tensor, normaliser: float, mismatch: float, least: float) -> Tensor:
    batch, _, height, width = flow.shape
    return flow.new_empty(batch, 11, height, width)


def _fake_system(
    data: Tensor, edges: Tensor, flow: Tensor, step: Tensor, alpha: float, delta: float, gamma: float, epsilon: float
) -> Tensor:
    batch, _, height, width = data.shape
    return data.new_empty(batch, 7, height, width)


def _fake_reliability(first: Tensor, second: Tensor, flow: Tensor, mismatch: float, least: float) -> Tensor:
    batch, _, height, width = flow.shape
    return flow.new_empty(batch, 1, height, width)


def _fake_step(first: Tensor, second: Tensor, edges: Tensor, flow: Tensor, *numbers: float) -> Tensor:
    return torch.empty_like(flow, memory_format=torch.contiguous_format)


VARIATIONAL_DATA = register(
    "variational_data",
    "(Tensor first, Tensor second, Tensor flow, float normaliser, float mismatch, float least) -> Tensor",
    definition.variational_data,
    _fake_data,
    cpu=cpu.variational_data,
)
VARIATIONAL_SYSTEM = register(
    "variational_system",
    "(Tensor data, Tensor edges, Tensor flow, Tensor step, float alpha, float delta, float gamma, float epsilon)"
    " -> Tensor",
    definition.variational_system,
    _fake_system,
    cpu=cpu.variational_system,
)
VARIATIONAL_STEP = register(
    "variational_step",
    "(Tensor first, Tensor second, Tensor edges, Tensor flow, float normaliser, float mismatch, float least,"
    " float alpha, float delta, float gamma, float epsilon, int sweeps, float factor, float largest) -> Tensor",
    definition.variational_step,
    _fake_step,
    cpu=cpu.variational_step,
    cuda=cuda.variational_step,
)
FLOW_RELIABILITY = register(
    "flow_reliability",
    "(Tensor first, Tensor second, Tensor flow, float mismatch, float least) -> Tensor",
    definition.flow_reliability,
    _fake_reliability,
    cpu=cpu.flow_reliability,
)
