"""PWC-Net's decoder: every convolution sees the input and all earlier outputs."""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from flowzoo.blocks.convolution import (
    Convolution,
    ConvolutionStack,
    as_weights,
    convolution,
    join,
    leaky,
    lowered,
    side_by_side,
    stays_in_half,
)


class DenseLayer(ConvolutionStack):
    """A convolution and its leaky ReLU."""

    def into(self, result: Tensor, maps: Tensor) -> None:
        """What `maps` give, without gradients, into a tensor of its shape."""
        cast(Convolution, self[0]).activated_into(result, maps)


class DenseMaps(NamedTuple):
    """What a dense decoder gives. Both are the same without autocast.

    Attributes:
        hidden: (B,outputs,H,W), all channels in the type in which convolutions see them.
        exact: for layers that flow comes from: all channels, or only what the decoder's input carries, in its own type.
        at: where in `hidden` those of `exact` are.
    """

    hidden: Tensor
    exact: Tensor
    at: int


class DenseDecoder(nn.Module):
    """Densely connected 3x3 convolutions, a leaky ReLU behind each.

    Args:
        inputs: channels that come in.
        channels: output channels of each convolution.
        order: for each, whether its output is put in "front" of what it saw or at the "end".
    """

    def __init__(self, inputs: int, channels: Sequence[int], order: Sequence[str]) -> None:
        super().__init__()
        self.channels, self.order = tuple(channels), tuple(order)
        self.inputs, self.outputs = inputs, inputs + sum(channels)
        layers: list[DenseLayer] = []
        seen = inputs
        for growth in channels:
            layers.append(DenseLayer(convolution(seen, growth), leaky()))
            seen += growth
        self.layers = nn.ModuleList(layers)

    def forward(self, parts: Sequence[Tensor], carried: int | None = None) -> DenseMaps:
        """Tensors (B,C_i,H,W) that make up the input, in order -> all channels (B,outputs,H,W).

        The last `carried` channels of the input carry what a half type has too few digits for; None: all do.
        """
        if torch.is_grad_enabled() and any(value.requires_grad for value in (*parts, *self.parameters())):
            seen = self._concatenated(as_weights(join(*parts), next(self.parameters())))
            return DenseMaps(seen, seen, 0)
        if stays_in_half(parts[0]):
            return self._in_half(parts, self.inputs if carried is None else carried)
        return self._in_place(parts)

    def _concatenated(self, seen: Tensor) -> Tensor:
        for layer, place in zip(self.layers, self.order, strict=True):
            new = layer(seen)
            seen = torch.cat([new, seen] if place == "front" else [seen, new], dim=1)
        return seen

    def _in_place(self, parts: Sequence[Tensor]) -> DenseMaps:
        """The same without gradients: every output is written once, into its final place."""
        batch, _, height, width = parts[0].shape
        store = parts[0].new_empty((batch, self.outputs, height, width))
        if store.is_cpu:  # whose convolutions then take their input from where it is
            store = torch.empty_like(store, memory_format=torch.channels_last)
        begin, end = self._fill(store, parts)
        lower = lowered(store[:, begin:end], next(self.parameters()))
        for layer, growth, place in zip(self.layers, self.channels, self.order, strict=True):
            first = begin - growth if place == "front" else end
            new = store[:, first : first + growth]
            if lower is None:
                cast(DenseLayer, layer).into(new, store[:, begin:end])
            else:
                lowered_new = layer(lower)
                new.copy_(lowered_new)
                lower = torch.cat([lowered_new, lower] if place == "front" else [lower, lowered_new], dim=1)
            begin, end = min(begin, first), max(end, first + growth)
        return DenseMaps(store if lower is None else lower, store, 0)

    def _in_half(self, parts: Sequence[Tensor], carried: int) -> DenseMaps:
        """The same under autocast to bfloat16, whose maps are never in float32; what is carried stays in it."""
        given = side_by_side(parts)
        batch, _, height, width = given.shape
        store = torch.empty(
            (batch, self.outputs, height, width), dtype=torch.bfloat16, memory_format=torch.channels_last
        )
        begin, end = self._fill(store, [given])
        at = end - carried
        for layer, growth, place in zip(self.layers, self.channels, self.order, strict=True):
            first = begin - growth if place == "front" else end
            cast(DenseLayer, layer).into(store[:, first : first + growth], store[:, begin:end])
            begin, end = min(begin, first), max(end, first + growth)
        return DenseMaps(store, given[:, self.inputs - carried :], at)

    def _fill(self, store: Tensor, parts: Sequence[Tensor]) -> tuple[int, int]:
        """Puts the input into its place among all channels: the first of its channels, and the one behind the last."""
        begin = sum(growth for growth, place in zip(self.channels, self.order, strict=True) if place == "front")
        end = begin
        for part in parts:
            store[:, end : end + part.shape[1]] = part
            end += part.shape[1]
        return begin, end
