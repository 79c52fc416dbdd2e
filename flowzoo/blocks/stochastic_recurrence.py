"""Recurrent parts of stochastic video generation, on vectors (LSTM) or on maps (ConvLSTM).

All keep their state outside: a list of (hidden, cell), one a layer, None at the start of a sequence.
"""

import torch
from torch import Tensor, nn

State = list[tuple[Tensor, Tensor]]


class ConvLSTMCell(nn.Module):
    """An LSTM cell whose gates are one 3x3 convolution of input and hidden maps; gates in the order i, f, o, g."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.conv = nn.Conv2d(inputs + hidden, 4 * hidden, 3, padding=1)

    def forward(self, maps: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Maps (B,C,h,w) and (hidden, cell) -> the next (hidden, cell)."""
        hidden, cell = state
        gates = self.conv(torch.cat([maps, hidden], dim=1))
        take, keep, show, new = gates.chunk(4, dim=1)
        cell = torch.sigmoid(keep) * cell + torch.sigmoid(take) * torch.tanh(new)
        return torch.sigmoid(show) * torch.tanh(cell), cell


class Recurrence(nn.Module):
    """An embedding and LSTM layers."""

    def __init__(self, inputs: int, hidden: int, layers: int, *, maps: bool) -> None:
        super().__init__()
        self.hidden, self.maps = hidden, maps
        self.embed = nn.Conv2d(inputs, hidden, 3, padding=1) if maps else nn.Linear(inputs, hidden)
        self.lstm = nn.ModuleList(
            ConvLSTMCell(hidden, hidden) if maps else nn.LSTMCell(hidden, hidden) for _ in range(layers)
        )

    def step(self, values: Tensor, state: State | None) -> tuple[Tensor, State]:
        """(B,C) or (B,C,h,w) -> the top layer's output, and the new state."""
        values = self.embed(values)
        if state is None:
            zeros = torch.zeros_like(values)
            state = [(zeros, zeros) for _ in self.lstm]
        after: State = []
        for cell, before in zip(self.lstm, state, strict=True):
            after.append(cell(values, before))
            values = after[-1][0]
        return values, after

    def readout(self, outputs: int) -> nn.Module:
        """A layer from the top layer's output."""
        return nn.Conv2d(self.hidden, outputs, 3, padding=1) if self.maps else nn.Linear(self.hidden, outputs)


class CodePredictor(Recurrence):
    """The frame predictor: codes and latents -> the code of the next frame, in -1..1."""

    def __init__(self, inputs: int, outputs: int, hidden: int, layers: int, *, maps: bool) -> None:
        super().__init__(inputs, hidden, layers, maps=maps)
        self.output = self.readout(outputs)

    def forward(self, values: Tensor, state: State | None) -> tuple[Tensor, State]:
        """(B,G+Z,...) -> (B,G,...) and the new state."""
        values, after = self.step(values, state)
        return torch.tanh(self.output(values)), after


class GaussianRecurrence(Recurrence):
    """Prior or posterior: codes -> mean and log-variance of the latent."""

    def __init__(self, inputs: int, outputs: int, hidden: int, layers: int, *, maps: bool) -> None:
        super().__init__(inputs, hidden, layers, maps=maps)
        self.mean = self.readout(outputs)
        self.log_variance = self.readout(outputs)

    def forward(self, values: Tensor, state: State | None) -> tuple[Tensor, Tensor, State]:
        """(B,G,...) -> mean and log-variance (B,Z,...), and the new state."""
        values, after = self.step(values, state)
        return self.mean(values), self.log_variance(values), after


def sample(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """mean + deviation * noise."""
    return mean + torch.exp(log_variance / 2) * noise


def divergence(mean_1: Tensor, log_variance_1: Tensor, mean_2: Tensor, log_variance_2: Tensor) -> Tensor:
    """KL(first || second) of diagonal Gaussians, summed over dimensions and batch, by the batch's size: a scalar."""
    gap = (mean_1 - mean_2).square() / torch.exp(log_variance_2)
    terms = log_variance_2 - log_variance_1 + torch.exp(log_variance_1 - log_variance_2) + gap - 1
    return terms.sum() / (2 * len(mean_1))
