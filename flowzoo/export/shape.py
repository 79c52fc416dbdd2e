"""What the inputs of an exported file may be. No torch."""

import math
from dataclasses import dataclass

from flowzoo.errors import InputError

DYNAMIC_MULTIPLE = 64
"""Sides of the images that a dynamic file takes are multiples of this (or of the network's, if that is no divisor):
every level of every pyramid then has whole sides."""
LEAST_MULTIPLES, MOST_MULTIPLES = 2, 256
"""Sides of one multiple would leave a single pixel at the coarsest level, which is laid out in memory differently."""
MOST_PAIRS = 64
"""The largest batch of a dynamic file."""


@dataclass(frozen=True)
class Shape:
    """Which (B,3,H,W) an exported file takes.

    Attributes:
        size: (height, width) of the images; None = dynamic: both sides are free multiples, and so is the batch.
        batch: pairs at a time, for a static file.
    """

    size: tuple[int, int] | None = None
    batch: int = 1

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise InputError(f"batch must be at least 1, got {self.batch}")
        if self.size is not None and min(self.size) < 1:
            raise InputError(f"size must be at least 1x1, got {self.size[1]}x{self.size[0]}")

    @property
    def dynamic(self) -> bool:
        """Whether size and batch are free."""
        return self.size is None

    def multiple(self, network_multiple: int) -> int:
        """What the sides of the images must be multiples of; 1 for a static file, whose size is what it is."""
        return math.lcm(DYNAMIC_MULTIPLE, network_multiple) if self.dynamic else 1

    def traced(self, network_multiple: int) -> tuple[int, int, int]:
        """(batch, height, width) that the network is traced with."""
        if self.size is not None:
            return self.batch, *self.size
        step = self.multiple(network_multiple)
        return 2, 3 * step, 4 * step

    def checked(self, network_multiple: int) -> list[tuple[int, int, int]]:
        """(batch, height, width) at which the written file is compared with the network."""
        if self.size is not None:
            return [(self.batch, *self.size)]
        step = self.multiple(network_multiple)
        return [(3, 2 * step, 4 * step), (1, 3 * step, 2 * step)]

    def text(self, network_multiple: int) -> str:
        """In words."""
        if self.size is None:
            step = self.multiple(network_multiple)
            sides = f"{step * LEAST_MULTIPLES} to {step * MOST_MULTIPLES}"
            return f"sides are multiples of {step} from {sides}, batch 1 to {MOST_PAIRS}"
        return f"{self.size[1]}x{self.size[0]}, batch {self.batch}"
