"""RAFT's update operator: costs and flow to motion features, a recurrent state, and from it a flow residual."""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowzoo.blocks.convolution import convolution
from flowzoo.blocks.gated_recurrence import GatedRecurrence, Kernel, Prepared, recurrences
from flowzoo.blocks.precision import flow_head


class MotionEncoder(nn.Module):
    """Costs (B,costs,H,W) and flow (B,2,H,W) -> motion features (B,outputs,H,W), whose last two channels are the flow.

    Args:
        costs: channels that come in.
        cost_channels: outputs of the layers on the costs: 1x1, then 3x3.
        flow_channels: outputs of the 7x7 and the 3x3 layer on the flow.
        outputs: channels.
    """

    def __init__(self, costs: int, cost_channels: Sequence[int], flow_channels: tuple[int, int], outputs: int) -> None:
        super().__init__()
        self.costs, inputs = nn.ModuleList(), costs
        for index, channels in enumerate(cost_channels):
            self.costs.append(convolution(inputs, channels, 3 if index else 1))
            inputs = channels
        self.flow = nn.ModuleList([convolution(2, flow_channels[0], 7), convolution(*flow_channels)])
        self.join = convolution(inputs + flow_channels[1], outputs - 2)

    def forward(self, costs: Tensor, flow: Tensor) -> Tensor:
        """See the class."""
        if costs.is_contiguous(memory_format=torch.channels_last):
            flow = flow.contiguous(memory_format=torch.channels_last)  # or all that follows would lose that layout
        for layer in self.costs:
            costs = F.relu(layer(costs), inplace=True)
        inside = flow
        for layer in self.flow:
            inside = F.relu(layer(inside), inplace=True)
        joined = F.relu(self.join(torch.cat([costs, inside], dim=1)), inplace=True)
        return torch.cat([joined, flow.to(joined.dtype)], dim=1)


class UpdateBlock(nn.Module):
    """One iteration: state, costs and flow -> the next state and a flow residual.

    Args:
        hidden, context: channels of the state and of the context features.
        motion: the encoder of costs and flow; `motion_channels` come out of it.
        kernels: of the recurrent units.
        head: channels inside the flow head.
    """

    def __init__(
        self,
        hidden: int,
        context: int,
        motion: MotionEncoder,
        motion_channels: int,
        kernels: Sequence[Kernel],
        head: int,
    ) -> None:
        super().__init__()
        self.motion = motion
        self.recurrences = recurrences(hidden, context, motion_channels, kernels)
        self.head = nn.Sequential(convolution(hidden, head), nn.ReLU(inplace=True), flow_head(head))

    def prepare(self, context: Tensor) -> list[Prepared]:
        """What all iterations with the context features (B,context,H,W) share."""
        return [cast(GatedRecurrence, unit).prepare(context) for unit in self.recurrences]

    def forward(
        self, state: Tensor, costs: Tensor, flow: Tensor, prepared: Sequence[Prepared]
    ) -> tuple[Tensor, Tensor]:
        """State (B,hidden,H,W), costs (B,costs,H,W), flow (B,2,H,W) -> the next state, and what to add to the flow."""
        seen = self.motion(costs, flow)
        for unit, constant in zip(self.recurrences, prepared, strict=True):
            state = unit(state, seen, constant)
        return state, self.head(state)
