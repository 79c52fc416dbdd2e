"""Both directions in one pass: for flow cues, which compare the flow with its reverse, and for training on both."""

import torch
from torch import Tensor

from flowzoo.errors import InputError
from flowzoo.network import FlowPrediction


def with_reverse(maps: Tensor, batch: int) -> Tensor:
    """Maps (2B,...), first and then second ones -> (4B,...), whose first half is (1, 2) and second half (2, 1).

    Read as a batch of pairs, entries 0..B-1 then run from the first images to the second, B..2B-1 back.
    """
    return torch.cat([maps, maps.roll(batch, 0)])


def both_directions(levels: list[Tensor | None], batch: int) -> list[Tensor | None]:
    """`with_reverse` of every level that is there."""
    return [None if level is None else with_reverse(level, batch) for level in levels]


def split_directions(flow: Tensor, pyramid: list[Tensor], batch: int) -> FlowPrediction:
    """Flow (B or 2B,2,H,W) and its pyramid -> prediction; a second half of the batch is the reverse direction.

    The reverse goes to `details["backward"]` and `details["backward_pyramid"]`.
    """
    if flow.shape[0] == batch:
        return FlowPrediction(flow=flow, pyramid=pyramid)
    backward = {"backward": flow[batch:], "backward_pyramid": [level[batch:] for level in pyramid]}
    return FlowPrediction(flow=flow[:batch], pyramid=[level[:batch] for level in pyramid], details=backward)


def reverse_of(prediction: FlowPrediction) -> FlowPrediction:
    """The reverse direction as a prediction of its own.

    Raises:
        InputError: the network has not inferred it.
    """
    details = prediction.details
    if "backward" not in details:
        raise InputError("both directions are wanted of a network that infers one: set both_directions or flow_cues")
    own = {name.removeprefix("backward_"): value for name, value in details.items() if name.startswith("backward_")}
    kept = {name: value for name, value in details.items() if not name.startswith("backward") and name not in own}
    pyramid, confidence = own.pop("pyramid"), own.pop("confidence", None)
    return FlowPrediction(flow=details["backward"], pyramid=pyramid, confidence=confidence, details=kept | own)
