"""Residual encoders to an eighth of the image, as in RAFT."""

from collections.abc import Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowzoo.blocks.convolution import convolution
from flowzoo.blocks.instance_norm import instance_norm
from flowzoo.blocks.normalised_convolution import BatchNorm

Norm = Literal["instance", "batch", "none"]
Block = Literal["residual", "bottleneck"]


class EncoderLayer(nn.Module):
    """A convolution with bias and its norm.

    Args:
        inputs, outputs, kernel, stride: of the convolution; its padding keeps the size at stride 1.
        norm: behind it.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, norm: Norm, stride: int = 1) -> None:
        super().__init__()
        self.convolution = convolution(inputs, outputs, kernel, stride=stride)
        self.norm = BatchNorm(outputs) if norm == "batch" else None
        self.instance = norm == "instance"

    def forward(self, maps: Tensor) -> Tensor:
        """(B,inputs,H,W) -> (B,outputs,ceil(H/stride),ceil(W/stride))."""
        if self.norm is None:
            maps = self.convolution(maps)
            return instance_norm(maps) if self.instance else maps
        if self.norm.training or torch.is_grad_enabled():
            return cast(Tensor, self.norm(self.convolution(maps)))
        layer = self.convolution
        scale = self.norm.weight * torch.rsqrt(cast(Tensor, self.norm.running_var) + self.norm.eps)
        shift = self.norm.bias - cast(Tensor, self.norm.running_mean) * scale
        bias = cast(Tensor, layer.bias) * scale + shift
        return F.conv2d(maps, layer.weight * scale.view(-1, 1, 1, 1), bias, layer.stride, layer.padding)


class ResidualBlock(nn.Module):
    """Layers with ReLUs, added to their input (through a 1x1 layer where the size changes), and a ReLU.

    Args:
        inputs, outputs: channels.
        stride: of the block.
        norm: behind every convolution.
        kind: two 3x3 layers ("residual"), or 1x1, 3x3 and 1x1 with a quarter of the channels inside ("bottleneck").
    """

    def __init__(self, inputs: int, outputs: int, stride: int, norm: Norm, kind: Block) -> None:
        super().__init__()
        if kind == "residual":
            layers = [EncoderLayer(inputs, outputs, 3, norm, stride), EncoderLayer(outputs, outputs, 3, norm)]
        else:
            inner = outputs // 4
            layers = [
                EncoderLayer(inputs, inner, 1, norm),
                EncoderLayer(inner, inner, 3, norm, stride),
                EncoderLayer(inner, outputs, 1, norm),
            ]
        self.layers = nn.ModuleList(layers)
        self.shortcut = EncoderLayer(inputs, outputs, 1, norm, stride) if stride > 1 else None

    def forward(self, maps: Tensor) -> Tensor:
        """(B,inputs,H,W) -> (B,outputs,ceil(H/stride),ceil(W/stride))."""
        inside = maps
        for layer in self.layers:
            inside = F.relu(layer(inside), inplace=True)
        outside = maps if self.shortcut is None else self.shortcut(maps)
        return F.relu_(inside.add_(outside)) if not torch.is_grad_enabled() else F.relu(inside + outside)


class ResidualEncoder(nn.Module):
    """A 7x7 layer of stride 2, three stages of two blocks (strides 1, 2, 2), and a 1x1 convolution.

    Args:
        channels: of the first layer and of the three stages.
        outputs: channels.
        norm, kind: of the blocks.
    """

    def __init__(self, channels: Sequence[int], outputs: int, norm: Norm, kind: Block) -> None:
        super().__init__()
        inputs, *stages = channels
        self.stem = EncoderLayer(3, inputs, 7, norm, 2)
        blocks: list[nn.Module] = []
        for index, width in enumerate(stages):
            blocks += [ResidualBlock(inputs, width, 1 if index == 0 else 2, norm, kind)]
            blocks += [ResidualBlock(width, width, 1, norm, kind)]
            inputs = width
        self.blocks = nn.Sequential(*blocks)
        self.project = convolution(inputs, outputs, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(B,3,H,W) with sides that are multiples of 8 -> (B,outputs,H/8,W/8)."""
        return cast(Tensor, self.project(self.blocks(F.relu(self.stem(images), inplace=True))))
