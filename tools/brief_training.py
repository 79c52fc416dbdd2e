"""Weights that are like trained ones in one respect: flow is about as long as the motion that the network sees.

Random weights give flows of hundreds of pixels, of which float32's rounding is a share. A hundred steps on a few small
rendered pairs, the same ones every time, end that.
"""

import itertools

import torch

from flowzoo.losses.density import density_loss
from flowzoo.losses.multiscale import MultiscaleLoss
from flowzoo.losses.penalties import charbonnier
from flowzoo.network import FlowNetwork
from flowzoo.synthetic.pairs import SyntheticPairs

PAIRS, BATCH, SIDE = 16, 2, 128
RATE, LONGEST_GRADIENT = 3e-4, 1.0
LONGEST_MOTION = 24.0
"""Pixels; pairs with longer motion are left out."""


def train_briefly(network: FlowNetwork, steps: int) -> list[float]:
    """Train in place, and leave the network in evaluation. The mean end-point error of each step, in pixels."""
    torch.manual_seed(0)
    every_level = MultiscaleLoss(
        charbonnier(0.375, 1e-3), (0.2,) * 5, 1.0, unit=1.0, reduction="mean", shrinking="average"
    )
    loss = density_loss if network.model_name.startswith("hd3") else every_level
    rendered = SyntheticPairs(None, size=(SIDE, SIDE))
    drawn = map(rendered.__getitem__, itertools.count())
    slow = (sample for sample in drawn if _longest(sample.flow) <= LONGEST_MOTION)
    samples = list(itertools.islice(slow, PAIRS))
    optimiser = torch.optim.Adam(network.parameters(), lr=RATE)
    errors = []
    network.train()
    for step in range(steps):
        taken = [samples[(step * BATCH + place) % PAIRS] for place in range(BATCH)]
        first = torch.stack([sample.first for sample in taken]).float() / 255
        second = torch.stack([sample.second for sample in taken]).float() / 255
        flow = torch.stack([sample.flow for sample in taken])
        prediction = network(first, second)
        errors.append((prediction.flow.detach() - flow).norm(dim=1).mean().item())
        optimiser.zero_grad()
        loss(prediction, flow).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), LONGEST_GRADIENT)
        optimiser.step()
    network.eval()
    return errors


def _longest(flow: torch.Tensor) -> float:
    return flow.abs().max().item()
