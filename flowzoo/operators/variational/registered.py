"""The registered operators `variational_data` and `variational_system`."""

from torch import Tensor

from flowzoo.operators.registration import register
from flowzoo.operators.variational import cpu, definition


def _fake_data(first: Tensor, second: Tensor, flow: Tensor, normaliser: float, mismatch: float, least: float) -> Tensor:
    batch, _, height, width = flow.shape
    return flow.new_empty(batch, 11, height, width)


def _fake_system(
    data: Tensor, edges: Tensor, flow: Tensor, step: Tensor, alpha: float, delta: float, gamma: float, epsilon: float
) -> Tensor:
    batch, _, height, width = data.shape
    return data.new_empty(batch, 7, height, width)


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
