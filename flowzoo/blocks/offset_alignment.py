"""Alignment of a neighbouring frame's features to the reference frame: one family, from one flow to many offsets.

Chan, Wang, Yu, Dong, Loy: "Understanding Deformable Alignment in Video Super-Resolution", AAAI 2021, section 3: a
deformable convolution is N warps, each by its own flow field, followed by a 1x1 convolution; with one offset it is the
warp of flow-based methods. Features are (B,C,H,W), flow (B,2,H,W) x then y, from the reference to the neighbour.
Offsets are (B,2*G*N,H,W), channel (g*N+n)*2 = dy, the next dx; all in pixels of this grid.
"""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from flowzoo.blocks.convolution import convolution
from flowzoo.errors import InputError
from flowzoo.operators import deform, warp
from flowzoo.operators.deform import Border

Form = Literal["deformable", "decomposed"]


class Aligned(NamedTuple):
    """What an alignment returns.

    Attributes:
        features: (B,O,H,W), the neighbour's at the reference's places.
        offset: (B,2*G*N,H,W) without the taps of the kernel: what compares with flow.
        mask: (B,G*N,H,W) in 0..1, or None.
    """

    features: Tensor
    offset: Tensor
    mask: Tensor | None


class FlowAlignment(nn.Module):
    """The flow-based alignment: warp by one flow, zero outside. No parameters."""

    def forward(self, features: Tensor, flow: Tensor) -> Aligned:
        """(B,C,H,W) and (B,2,H,W)."""
        return Aligned(warp(features, flow), flow.flip(1), None)


class LearnedOffsets(nn.Module):
    """Offsets and masks by one convolution; what the two forms below share, with the same parameters in both.

    Args:
        inputs, outputs: channels of the neighbour's features and of the result.
        hidden: channels of what the offsets are predicted from.
        groups: G; each has inputs / G channels and offsets of its own.
        offsets: N, offsets a pixel and group. k*k with an odd k starts from the taps of a k x k kernel, any other
            number from the pixel itself, with biases that spread the offsets.
        modulated: whether every read value is multiplied by a predicted mask in 0..1.
        bias: of the result.
        border: see `flowzoo.operators.deform`.
        limit: largest residual to a base flow, pixels (by tanh); None = as predicted.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        hidden: int,
        *,
        groups: int = 8,
        offsets: int = 9,
        modulated: bool = True,
        bias: bool = True,
        border: Border = "modern",
        limit: float | None = None,
    ) -> None:
        super().__init__()
        if groups < 1 or offsets < 1 or inputs % groups:
            raise InputError(
                f"alignment needs 1 offset or more and groups that divide {inputs} channels, got {offsets}, {groups}"
            )
        self.groups, self.offsets, self.modulated = groups, offsets, modulated
        self.border, self.limit = border, limit
        side = math.isqrt(offsets)
        self.kernel = side if side * side == offsets and side % 2 == 1 else None
        taps = (offsets,) if self.kernel is None else (self.kernel, self.kernel)
        self.weight = nn.Parameter(torch.empty(outputs, inputs, *taps))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.conv_offset = convolution(hidden, groups * offsets * (3 if modulated else 2))
        self.reset()

    def reset(self) -> None:
        """Uniform weights as for any convolution in the published code, offsets and mask logits 0."""
        bound = 1 / math.sqrt(self.weight[0].numel())
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.zeros_(self.conv_offset.weight)
        bias = self.conv_offset.bias
        assert bias is not None, "this convolution is made with a bias"
        nn.init.zeros_(bias)
        if self.kernel is None and not bias.is_meta:
            places = nearest_places(self.offsets).repeat(self.groups, 1)
            with torch.no_grad():
                bias[: places.numel()] = places.flatten().to(bias)

    def predict(self, hidden: Tensor, base: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Offsets, and masks or None, from (B,hidden,H,W); `base` (B,2,H,W) is a flow that all offsets start from."""
        count = self.groups * self.offsets
        # Offsets need more than the 8 or 11 bits of the half types.
        raw = self.conv_offset(hidden).float()
        offset, mask = raw[:, : 2 * count], None
        if self.modulated:
            mask = raw[:, 2 * count :].sigmoid()
        if self.limit is not None:
            offset = self.limit * torch.tanh(offset / self.limit)
        if base is not None:
            offset = offset + base.flip(1).repeat(1, count, 1, 1)
        return offset, mask

    def places(self, offset: Tensor) -> Tensor:
        """Offsets with the taps of the kernel: where is read, from each pixel; the same shape."""
        flows = flows_of_offsets(offset, self.groups, self.kernel)
        return flows.flip(3).reshape(offset.shape)

    def forward(self, features: Tensor, hidden: Tensor, base: Tensor | None = None) -> Aligned:
        """Align `features` (B,inputs,H,W) by offsets predicted from `hidden` (B,hidden,H,W).

        Args:
            features: of the neighbour.
            hidden: of both frames.
            base: (B,2,H,W), flow from the reference to the neighbour that every offset starts from, or None.
        """
        offset, mask = self.predict(hidden, base)
        return Aligned(self.aggregate(features, offset, mask), offset, mask)

    def aggregate(self, features: Tensor, offset: Tensor, mask: Tensor | None) -> Tensor:
        """The result for given offsets and masks."""
        raise TypeError(f"{type(self).__name__} does not define aggregate")


class DeformableAlignment(LearnedOffsets):
    """Deformable convolution (equations 1, 2 and 7)."""

    def aggregate(self, features: Tensor, offset: Tensor, mask: Tensor | None) -> Tensor:
        """See `LearnedOffsets`."""
        padding = 0 if self.kernel is None else self.kernel // 2
        return deform(features, offset, self.weight, self.bias, mask, padding=padding, border=self.border)


class OffsetAlignment(LearnedOffsets):
    """The same as N warps, stacked, and a 1x1 convolution (equation 3); parameters are those of `DeformableAlignment`.

    The value is the same. At whole-number offsets the derivative may be that of the neighbouring cell, because warping
    works in normalised coordinates; train with `DeformableAlignment`.
    """

    def __init__(self, inputs: int, outputs: int, hidden: int, *, border: Border = "modern", **options: int) -> None:
        if border != "modern":
            raise InputError("the decomposed form knows the modern border rule only: use deformable alignment")
        super().__init__(inputs, outputs, hidden, border=border, **options)  # type: ignore[arg-type]

    def aggregate(self, features: Tensor, offset: Tensor, mask: Tensor | None) -> Tensor:
        """See `LearnedOffsets`."""
        flows = flows_of_offsets(offset, self.groups, self.kernel)
        stack = warp_each(features, flows, mask)
        return torch.conv2d(stack, decompose(self.weight).to(stack.dtype), self.bias)


FORMS: dict[Form, type[LearnedOffsets]] = {"deformable": DeformableAlignment, "decomposed": OffsetAlignment}


def flows_of_offsets(offset: Tensor, groups: int, kernel: int | None) -> Tensor:
    """Offsets (B,2*G*N,H,W) as flow fields (B,G,N,2,H,W), x then y, with the taps of a k x k kernel added."""
    batch, channels, height, width = offset.shape
    flows = offset.view(batch, groups, channels // (2 * groups), 2, height, width)
    if kernel is not None:
        flows = flows + kernel_taps(kernel).to(offset).view(1, 1, kernel * kernel, 2, 1, 1)
    return flows.flip(3)


def warp_each(features: Tensor, flows: Tensor, mask: Tensor | None) -> Tensor:
    """(B,C,H,W) warped by every flow of its group: (B,N*C,H,W), flow-major, times the masks (B,G*N,H,W)."""
    batch, channels, height, width = features.shape
    groups, count = flows.shape[1:3]
    parts = features.reshape(batch * groups, channels // groups, height, width)
    warped = []
    for index in range(count):
        part = warp(parts, flows[:, :, index].reshape(batch * groups, 2, height, width))
        part = part.view(batch, groups, channels // groups, height, width)
        if mask is not None:
            part = part * mask.view(batch, groups, count, 1, height, width)[:, :, index].to(part.dtype)
        warped.append(part.view(batch, channels, height, width))
    return torch.cat(warped, dim=1)


def decompose(weight: Tensor) -> Tensor:
    """Weights of a deformable convolution (O,C,k,k) or (O,C,N) as those of the 1x1 convolution, (O,N*C,1,1)."""
    return weight.flatten(2).transpose(1, 2).reshape(len(weight), -1, 1, 1)


def compose(weight: Tensor, inputs: int, kernel: int | None) -> Tensor:
    """The inverse of `decompose`: (O,N*C,1,1) -> (O,C,k,k), or (O,C,N) where `kernel` is None."""
    taps = weight.view(weight.shape[0], -1, inputs).transpose(1, 2)
    return taps.contiguous() if kernel is None else taps.reshape(*taps.shape[:2], kernel, kernel)


def kernel_taps(kernel: int) -> Tensor:
    """(k*k, 2): y and x of every tap of a k x k kernel, row by row, from its centre."""
    steps = torch.arange(kernel) - kernel // 2
    return torch.stack(torch.meshgrid(steps, steps, indexing="ij"), dim=-1).view(-1, 2)


def nearest_places(count: int) -> Tensor:
    """(N, 2): the N whole-number places (y, x) nearest to the origin; where free offsets start."""
    reach = math.isqrt(count) + 1
    grid = [(y, x) for y in range(-reach, reach + 1) for x in range(-reach, reach + 1)]
    grid.sort(key=lambda place: (place[0] ** 2 + place[1] ** 2, place))
    return torch.tensor(grid[:count], dtype=torch.float32)
