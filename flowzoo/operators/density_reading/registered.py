"""The registered operator `density_reading`."""

from torch import Tensor

from flowzoo.operators.density_reading import cpu, definition
from flowzoo.operators.registration import register


def _fake(logits: Tensor) -> tuple[Tensor, Tensor]:
    batch, _, height, width = logits.shape
    return logits.new_empty(batch, 2, height, width), logits.new_empty(batch, 1, height, width)


DENSITY_READING = register(
    "density_reading",
    "(Tensor logits) -> (Tensor, Tensor)",
    definition.density_reading,
    _fake,
    cpu=cpu.density_reading,
)
