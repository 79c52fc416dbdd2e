"""Convolutions with the activation that all of these networks share."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from flowzoo.operators.convolution import convolve, convolve_into, convolve_parts, cpu
from flowzoo.operators.precision import autocast_type
from flowzoo.operators.registration import is_traced

SLOPE = 0.1
_LEAST_PIXELS = 1600
"""Of maps that are joined in channels last: smaller ones meet no convolution of ours (see `operators.convolution`)."""


class Convolution(nn.Conv2d):
    """`torch.nn.Conv2d`, faster on a CPU (see `flowzoo.operators.convolution`).

    One group, zero padding, and the same stride and dilation along both axes.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return self.with_weights(input, weight, bias)

    def with_weights(self, maps: Tensor, weight: Tensor, bias: Tensor | None, slope: float = 1.0) -> Tensor:
        """What this layer would give with these weights, and a leaky ReLU behind it."""
        rows, columns = self.padding[0], self.padding[1]
        maps = as_weights(maps, weight)
        return convolve(maps, weight, bias, self.stride[0], (int(rows), int(columns)), self.dilation[0], slope)

    def of_parts(self, parts: Sequence[Tensor], weight: Tensor, bias: Tensor | None, slope: float = 1.0) -> Tensor:
        """The same of maps (B,C_i,H,W) that lie beside each other, with no copy of them all where that is a gain."""
        rows, columns = self.padding[0], self.padding[1]
        numbers = self.stride[0], (int(rows), int(columns)), self.dilation[0]
        found = convolve_parts(parts, weight, bias, *numbers, slope)
        return self.with_weights(side_by_side(parts), weight, bias, slope) if found is None else found

    def activated(self, maps: Tensor, slope: float = SLOPE) -> Tensor:
        """What a leaky ReLU behind this layer gives, as one operation."""
        return self.with_weights(maps, self.weight, self.bias, slope)

    def activated_into(self, result: Tensor, maps: Tensor, slope: float = SLOPE) -> None:
        """The same, without gradients, into a tensor of the result's shape, in its type."""
        rows, columns = self.padding[0], self.padding[1]
        numbers = self.stride[0], (int(rows), int(columns)), self.dilation[0]
        convolve_into(result, as_weights(maps, self.weight), self.weight, self.bias, *numbers, slope)


class ConvolutionStack(nn.Sequential):
    """`torch.nn.Sequential` that does convolutions and leaky ReLUs in pairs."""

    def forward(self, maps: Tensor) -> Tensor:
        """(B,C,H,W) through all layers."""
        layers = list(self)
        position = 0
        while position < len(layers):
            layer, behind = layers[position], layers[position + 1] if position + 1 < len(layers) else None
            if isinstance(layer, Convolution) and isinstance(behind, nn.LeakyReLU):
                maps = layer.activated(maps, behind.negative_slope)
                position += 2
            else:
                maps = layer(maps)
                position += 1
        return maps


def convolution(
    inputs: int, outputs: int, kernel: int | tuple[int, int] = 3, *, stride: int = 1, dilation: int = 1
) -> Convolution:
    """A convolution with bias whose padding keeps the size (at stride 1)."""
    sides = (kernel, kernel) if isinstance(kernel, int) else kernel
    padding = tuple(dilation * (side // 2) for side in sides)
    return Convolution(inputs, outputs, sides, stride, padding, dilation)  # type: ignore[arg-type]


def as_weights(maps: Tensor, weight: Tensor) -> Tensor:
    """`maps` in the type of the weights they meet, unless autocast decides; float32 flow goes into half networks so."""
    if maps.dtype == weight.dtype or torch.is_autocast_enabled(maps.device.type):
        return maps
    return maps.to(weight.dtype)


def training_layout(maps: Tensor) -> Tensor:
    """`maps` (B,C,H,W), which go into convolutions, as these are fastest while gradients are recorded on a CPU.

    That is in channels-last memory layout, and under autocast in its type: convolutions would turn them into it anyway,
    each of them once more. Elsewhere as is.
    """
    if not torch.is_grad_enabled() or maps.device.type != "cpu":
        return maps
    cast = autocast_type(maps) if maps.dtype == torch.float32 else None
    return maps.to(cast or maps.dtype, memory_format=torch.channels_last)


def lowered(maps: Tensor, weight: Tensor) -> Tensor | None:
    """`maps` (B,C,H,W) in the type in which they meet `weight`, if that is another: autocast's, or that of the weights.

    For maps that several convolutions meet: each would cast them once more.
    """
    dtype = (None if maps.dtype == torch.float64 else autocast_type(maps)) or weight.dtype
    if dtype == maps.dtype:
        return None
    return maps.to(dtype, memory_format=torch.channels_last if maps.is_cpu else torch.preserve_format)


def stays_in_half(maps: Tensor) -> bool:
    """Whether convolutions of these maps, without gradients, are done in bfloat16, for which the CPU has products."""
    if not untraced_inference(maps) or maps.dtype != torch.float32:
        return False
    return autocast_type(maps) == torch.bfloat16 and cpu.multiplies_halves()


def layout(maps: Tensor) -> Tensor:
    """`training_layout`, and without gradients channels last on a CPU, too: for networks that keep to it."""
    if torch.is_grad_enabled() or maps.device.type != "cpu":
        return training_layout(maps)
    return maps.contiguous(memory_format=torch.channels_last)


def join(*parts: Tensor | None) -> Tensor:
    """Tensors (B,C_i,H,W), or None where there is none -> (B,sum C_i,H,W), for a convolution to see.

    In the first one's type and in the layout of `training_layout`; without gradients on a CPU in channels last where
    one of them is, as `torch.cat` would turn that one and the convolution the whole.
    """
    laid_out = [training_layout(part) for part in parts if part is not None]
    if len(laid_out) == 1:
        return laid_out[0]
    laid_out = [part.to(laid_out[0].dtype) for part in laid_out]
    if torch.is_grad_enabled() or is_traced() or not any(map(_only_channels_last, laid_out)):
        return torch.cat(laid_out, dim=1)
    first = laid_out[0]
    shape = first.shape[0], sum(part.shape[1] for part in laid_out), *first.shape[2:]
    joined = torch.empty(shape, dtype=first.dtype, device=first.device, memory_format=torch.channels_last)
    return torch.cat(laid_out, dim=1, out=joined)


def side_by_side(parts: Sequence[Tensor]) -> Tensor:
    """(B,C_i,H,W) -> (B,sum C_i,H,W)."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=1)


def untraced_inference(maps: Tensor) -> bool:
    """Whether `maps` are on a CPU, and neither gradients nor programs are recorded."""
    return maps.is_cpu and not is_traced() and not torch.is_grad_enabled()


def _only_channels_last(maps: Tensor) -> bool:
    large = maps.is_cpu and maps.shape[-2] * maps.shape[-1] >= _LEAST_PIXELS
    return large and maps.is_contiguous(memory_format=torch.channels_last) and not maps.is_contiguous()


def leaky() -> nn.LeakyReLU:
    """Leaky ReLU with slope 0.1, in place (its derivative only needs its output)."""
    return nn.LeakyReLU(SLOPE, inplace=True)


def convolution_stack(inputs: int, channels: Sequence[int]) -> ConvolutionStack:
    """3x3 convolutions with the given output channels, a leaky ReLU behind each."""
    layers: list[nn.Module] = []
    for outputs in channels:
        layers += [convolution(inputs, outputs), leaky()]
        inputs = outputs
    return ConvolutionStack(*layers)


def initialise(module: nn.Module) -> None:
    """He-normal weights for the leaky ReLU's slope, zero biases, for every convolution inside `module`."""
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.kaiming_normal_(layer.weight, a=SLOPE, mode="fan_in")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
