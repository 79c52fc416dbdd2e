"""What a stage of super-resolution minimises."""

from collections.abc import Callable

import torch
from torch import Tensor

from flowzoo.losses.offset_fidelity import offset_fidelity_loss
from flowzoo.network import FlowNetwork, VideoPrediction
from flowzoo.training.super_resolution.settings import EnlargingLossSettings
from flowzoo.training.super_resolution.sources import FramesBatch
from flowzoo.training.task import Loss

Cost = Callable[[VideoPrediction, FramesBatch], Loss]


def make_cost(settings: EnlargingLossSettings, flow: FlowNetwork | None) -> Cost:
    """A function of (prediction, batch); `flow` is needed where offsets are compared with it."""

    def cost(prediction: VideoPrediction, batch: FramesBatch) -> Loss:
        value = distance(prediction.frames.float(), batch.large, settings)
        quantities = {"psnr": psnr_of(prediction.frames, batch.large)}
        if settings.aligned_weight and "aligned" in prediction.details:
            aligned = prediction.details["aligned"].float()
            middle = batch.small[:, batch.small.shape[1] // 2].unsqueeze(1).expand_as(aligned)
            value = value + settings.aligned_weight * distance(aligned, middle, settings)
        if settings.fidelity_weight:
            part = fidelity(prediction, batch, settings, flow)
            value = value + settings.fidelity_weight * part
            quantities["fidelity"] = part.detach()
        else:
            quantities["fidelity"] = value.new_zeros(())
        return Loss(value, quantities)

    return cost


def distance(first: Tensor, second: Tensor, settings: EnlargingLossSettings) -> Tensor:
    """The data-fitting loss of two batches of one shape."""
    difference = first - second
    if settings.loss == "l1":
        values = difference.abs()
    elif settings.loss == "l2":
        values = difference.square()
    else:
        values = (difference.square() + settings.epsilon**2).sqrt()
    return values.mean() if settings.reduction == "mean" else values.flatten(1).sum(dim=1).mean()


def fidelity(
    prediction: VideoPrediction, batch: FramesBatch, settings: EnlargingLossSettings, flow: FlowNetwork | None
) -> Tensor:
    """The offset-fidelity loss of all frames and levels, a mean over samples."""
    entries = prediction.details.get("offsets", ())
    total = prediction.frames.new_zeros(())
    if not entries:
        return total
    flows = flows_of(batch, flow)
    numbers = range(batch.small.shape[1])
    if len(entries) == len(flows) - 1:
        numbers = [number for number in numbers if number != len(flows) // 2]  # type: ignore[assignment]
    for number, entry in zip(numbers, entries, strict=True):
        for level in settings.fidelity_levels:
            if level in entry:
                total = total + offset_fidelity_loss(
                    _fitting(entry[level]),
                    _fitting_flow(flows[number], entry[level]),
                    threshold=settings.fidelity_threshold,
                    reduction=settings.fidelity_reduction,
                )
    return total / len(batch.small)


def flows_of(batch: FramesBatch, flow: FlowNetwork | None) -> list[Tensor]:
    """(B,2,h,w) from the middle small frame to every frame, 0 to itself; those of the batch, or by the network."""
    small = batch.small
    middle, count = small.shape[1] // 2, small.shape[1]
    found = []
    for number in range(count):
        if number == middle:
            found.append(small.new_zeros(len(small), 2, *small.shape[-2:]))
        elif batch.flows is not None:
            found.append(batch.flows[:, number - (number > middle)])
        else:
            assert flow is not None, "a stage with this loss has a flow network"
            with torch.no_grad():
                found.append(flow(small[:, middle], small[:, number]).flow.float())
    return found


def _fitting(offset: Tensor) -> Tensor:
    return offset.float()


def _fitting_flow(flow: Tensor, offset: Tensor) -> Tensor:
    """The flow, padded where the network has padded its frames to multiples."""
    factor = 1
    while flow.shape[-1] > factor * offset.shape[-1] or flow.shape[-2] > factor * offset.shape[-2]:
        factor *= 2
    rows, columns = (factor * side - old for side, old in zip(offset.shape[-2:], flow.shape[-2:], strict=True))
    return torch.nn.functional.pad(flow, (0, columns, 0, rows), mode="replicate") if rows or columns else flow


@torch.no_grad()
def psnr_of(first: Tensor, second: Tensor) -> Tensor:
    """Mean over samples of the PSNR of clamped values, dB."""
    error = (first.float().clamp(0, 1) - second).square().flatten(1).mean(dim=1)
    return (-10 * torch.log10(error + 1e-10)).mean()
