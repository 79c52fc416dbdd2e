"""PWC-Net's decoder: every convolution sees the input and all earlier outputs."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from flowzoo.blocks.convolution import ConvolutionStack, as_weights, convolution, join, leaky, lowered


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
        layers = []
        seen = inputs
        for growth in channels:
            layers.append(ConvolutionStack(convolution(seen, growth), leaky()))
            seen += growth
        self.layers = nn.ModuleList(layers)

    def forward(self, parts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Tensors (B,C_i,H,W) that make up the input, in order -> all channels (B,outputs,H,W), twice.

        First in the type in which convolutions see them, then with the input in its own, for layers that flow comes
        from. They differ under autocast and in networks of a half type, without gradients.
        """
        if torch.is_grad_enabled() and any(value.requires_grad for value in (*parts, *self.parameters())):
            seen = self._concatenated(as_weights(join(*parts), next(self.parameters())))
            return seen, seen
        return self._in_place(parts)

    def _concatenated(self, seen: Tensor) -> Tensor:
        for layer, place in zip(self.layers, self.order, strict=True):
            new = layer(seen)
            seen = torch.cat([new, seen] if place == "front" else [seen, new], dim=1)
        return seen

    def _in_place(self, parts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The same without gradients: every output is written once, into its final place."""
        batch, _, height, width = parts[0].shape
        begin = sum(growth for growth, place in zip(self.channels, self.order, strict=True) if place == "front")
        store = parts[0].new_empty((batch, self.outputs, height, width))
        if store.is_cpu:  # whose convolutions then take their input from where it is
            store = torch.empty_like(store, memory_format=torch.channels_last)
        end = begin
        for part in parts:
            store[:, end : end + part.shape[1]] = part
            end += part.shape[1]
        cast = lowered(store[:, begin:end], next(self.parameters()))
        for layer, growth, place in zip(self.layers, self.channels, self.order, strict=True):
            new = layer(store[:, begin:end] if cast is None else cast)
            if place == "front":
                begin -= growth
                store[:, begin : begin + growth] = new
            else:
                store[:, end : end + growth] = new
                end += growth
            if cast is not None:
                cast = torch.cat([new, cast] if place == "front" else [cast, new], dim=1)
        return store if cast is None else cast, store
