"""Composites layers into two frames with flow and masks in both directions."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional

from flowzoo.devices import costs_a_wait
from flowzoo.synthetic.layers import Layer, Window
from flowzoo.synthetic.motion import pixel_grid


@dataclass
class RenderedPairs:
    """A batch of pairs with everything that is known about them.

    Attributes:
        first, second: (B, 3, H, W) RGB frames, float32 in 0..1 or uint8.
        flow, backward_flow: (B, 2, H, W) float32, x then y, pixels; from first to second and from second to first:
            the motion of the surface that is in front at each pixel.
        occluded, backward_occluded: (B, H, W) bool; the point of this frame leaves the other frame, or a nearer
            surface covers the pixel there that it falls on.
        valid, backward_valid: (B, H, W) bool; False where there is no flow (a fold, a point behind the camera, or
            nothing to see because it lies beyond the photograph).
    """

    first: Tensor
    second: Tensor
    flow: Tensor
    backward_flow: Tensor
    occluded: Tensor
    backward_occluded: Tensor
    valid: Tensor
    backward_valid: Tensor

    def __len__(self) -> int:
        return len(self.first)

    def to(self, device: torch.device | str) -> "RenderedPairs":
        """All tensors on `device`."""
        return RenderedPairs(*(getattr(self, entry.name).to(device) for entry in fields(self)))

    def reversed(self) -> "RenderedPairs":
        """The pairs played backwards."""
        return RenderedPairs(
            self.second, self.first, self.backward_flow, self.flow,
            self.backward_occluded, self.occluded, self.backward_valid, self.valid,
        )  # fmt: skip


@dataclass
class _Canvas:
    """One frame while it is being painted; label is the number of the front layer."""

    colour: Tensor
    flow: Tensor
    label: Tensor
    valid: Tensor


def composite(layers: list[Layer], size: tuple[int, int]) -> RenderedPairs:
    """Paint layers, back to front, into frames of `size` (height, width); colours stay unclamped float32."""
    height, width = size
    first, second = _background(layers[0], size)
    for number, layer in enumerate(layers[1:], start=1):
        _paint(first, layer, number, layer.windows[0], forward=True)
        _paint(second, layer, number, layer.windows[1], forward=False)
    grid = pixel_grid(0, 0, height, width, first.colour.device)
    return RenderedPairs(
        first.colour,
        second.colour,
        first.flow,
        second.flow,
        hidden(grid, first.flow, first.label, second.label),
        hidden(grid, second.flow, second.label, first.label),
        first.valid,
        second.valid,
    )


def _background(layer: Layer, size: tuple[int, int]) -> tuple[_Canvas, _Canvas]:
    batch, (height, width) = len(layer.values), size
    grid = pixel_grid(0, 0, height, width, layer.values.device)
    ahead, exists = layer.motion.forward(grid)
    back, exists_back = layer.motion.inverse(0, 0, height, width)
    colour, colour_back = layer.sample(ahead, background=True), layer.sample(grid, background=True)
    flow, back = ahead - grid, back - grid
    if not layer.mirrored:
        exists, exists_back = exists & layer.inside(ahead), exists_back & layer.inside(grid)
    label = torch.zeros((batch, 1, height, width), device=grid.device)
    return (
        _Canvas(colour, flow * exists[:, None], label, exists),
        _Canvas(colour_back, back * exists_back[:, None], label.clone(), exists_back),
    )


def _paint(canvas: _Canvas, layer: Layer, number: int, window: Window, *, forward: bool) -> None:
    top, left, height, width = window
    if height == 0 or width == 0:
        return
    grid = pixel_grid(top, left, height, width, canvas.colour.device)
    if forward:
        there, exists = layer.motion.forward(grid)
        seen = layer.sample(there, background=False)
    else:
        seen = layer.sample(grid, background=False)
    front = (seen[:, 4:5] > 0.5).float()
    colour = canvas.colour[:, :, top : top + height, left : left + width]
    colour.mul_(1 - seen[:, 3:4]).add_(seen[:, :3])
    if not forward:
        there, exists = layer.motion.inverse(top, left, height, width)
    rows, columns = slice(top, top + height), slice(left, left + width)
    if costs_a_wait(grid.device) or not bool(exists.all()):
        there = torch.where(exists[:, None], there, grid)
    canvas.flow[:, :, rows, columns].lerp_(there - grid, front)
    canvas.label[:, :, rows, columns].lerp_(torch.full_like(front, float(number)), front)
    canvas.valid[:, rows, columns] = torch.where(front[:, 0] > 0, exists, canvas.valid[:, rows, columns])


def hidden(grid: Tensor, flow: Tensor, here: Tensor, there: Tensor) -> Tensor:
    """(B, H, W): points whose target lies outside, or on a pixel of the other frame that shows a nearer layer.

    Args:
        grid: (1, 2, H, W) pixel coordinates.
        flow: (B, 2, H, W) to the other frame.
        here, there: (B, 1, H, W) layer numbers of this and of the other frame; larger is nearer.
    """
    height, width = flow.shape[-2:]
    scale = torch.stack([torch.full((1, 1), 2 / side, device=flow.device) for side in (width, height)])
    target = (grid + flow + 0.5) * scale - 1
    outside = (target.abs() > 1).any(dim=1)
    shown = functional.grid_sample(
        there, target.permute(0, 2, 3, 1), mode="nearest", padding_mode="border", align_corners=False
    )
    return outside | (shown > here + 0.5)[:, 0]
