"""Sums over the steps since the last row of the log, kept on the device: adding to them waits for nothing."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from flowzoo.distributed import Ranks
from flowzoo.training.task import Loss


class Tally:
    """Loss, a task's quantities and the gradient's norm.

    Attributes:
        names: of the quantities.
        sums: of the loss, of the quantities, and of the norms that are finite.
        steps: how many went in.
        skipped: in how many of them the norm was not finite.
    """

    def __init__(self, names: Sequence[str], device: torch.device) -> None:
        self.names, self.device = tuple(names), device
        self.clear()

    def clear(self) -> None:
        """Begin an interval."""
        self.sums = torch.zeros(len(self.names) + 2, device=self.device)
        self.skipped = torch.zeros((), device=self.device)
        self.steps = 0

    def add(self, loss: Loss, share: float) -> None:
        """`share` of a step's loss and quantities."""
        self.sums[0] += loss.value.detach() * share
        for place, name in enumerate(self.names, start=1):
            self.sums[place] += loss.quantities[name].detach() * share

    def add_step(self, norm: Tensor) -> None:
        """A step is complete; `norm` is that of its gradient."""
        finite = torch.isfinite(norm)
        self.sums[-1] += torch.where(finite, norm, 0.0)
        self.skipped += ~finite
        self.steps += 1

    def is_finite(self, *, skipping: bool) -> Tensor:
        """Whether the loss is finite and, unless such steps are skipped (`skipping`), every gradient was."""
        return torch.isfinite(self.sums[0]) & (skipping | (self.skipped == 0))

    def means(self, ranks: Ranks) -> dict[str, float]:
        """Over steps and ranks, by the names of the log's columns; "skipped" steps where there are any."""
        *values, norms = ranks.mean(self.sums).tolist()
        skipped = round(float(self.skipped))
        counted = self.steps - skipped
        means = {name: value / self.steps for name, value in zip(("loss", *self.names), values, strict=True)}
        means["gradient_norm"] = norms / counted if counted else float("nan")
        return means | ({"skipped": skipped} if skipped else {})

    def shared(self, ranks: Ranks) -> dict[str, Any]:
        """What a checkpoint keeps: the same numbers for all ranks."""
        return {"sums": ranks.mean(self.sums), "counted": self.steps, "skipped": self.skipped}

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on from what `shared` gave."""
        self.sums, self.steps = saved["sums"].to(self.device), saved["counted"]
        self.skipped = saved.get("skipped", torch.zeros(())).to(self.device)
