"""Convolution, batch norm and ReLU as one part; without gradients the norm is folded into the convolution."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowzoo.blocks.convolution import Convolution, side_by_side, untraced_inference
from flowzoo.operators.registration import is_traced


class BatchNorm(nn.BatchNorm2d):
    """Batch norm that trains on a single value a channel, too: it then uses (and leaves) its running statistics.

    One sample of 64x64 pixels has such a map at the coarsest level.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(B,C,H,W) -> the same shape."""
        if self.training and input.numel() == input.shape[1]:
            return F.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
            )
        return super().forward(input)

    def folded(self) -> tuple[Tensor, Tensor]:
        """What channels are multiplied with in evaluation, and what is added: (channels) each."""
        mean, variance = cast(Tensor, self.running_mean), cast(Tensor, self.running_var)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return scale, self.bias - mean * scale

    def can_overwrite(self, maps: Tensor) -> bool:
        """Whether `overwrite` may take the place of this norm: for inference on a CPU, in float32 for its digits."""
        single = maps.dtype == self.weight.dtype == torch.float32
        return single and not self.training and untraced_inference(maps)


def overwrite(maps: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """relu(scale * maps + shift), (channels) each, in the place of `maps`: fresh memory costs more than the sums."""
    shape = 1, -1, 1, 1
    return torch.addcmul(shift.view(shape), maps, scale.view(shape), out=maps).relu_()


class NormalisedConvolution(nn.Module):
    """A convolution without bias, a batch norm, and a ReLU.

    Args:
        inputs, outputs, kernel, stride, dilation: of the convolution; its padding keeps the size at stride 1.
        active: whether the ReLU is there.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 3, *, stride: int = 1, dilation: int = 1, active: bool = True
    ) -> None:
        super().__init__()
        padding = dilation * (kernel // 2)
        self.convolution = Convolution(inputs, outputs, kernel, stride, padding, dilation, bias=False)
        self.norm = BatchNorm(outputs)
        self.active = active

    def forward(self, *parts: Tensor) -> Tensor:
        """(B,inputs,H,W), or parts of it beside each other -> (B,outputs,ceil(H/stride),ceil(W/stride))."""
        layer = self.convolution
        batch, _, height, width = parts[0].shape
        pixels = height * width // layer.stride[0] ** 2
        # Scaling the weights costs a pass over them, the norm a pass over the output: take the cheaper one. A recorded
        # program is for other sizes, too.
        few = not is_traced() and pixels * batch < layer.weight[0].numel()
        if self.training or torch.is_grad_enabled() or few:
            result = self.norm(layer(side_by_side(parts)))
            return F.relu(result, inplace=True) if self.active else result
        weight, bias = self.folded()
        return layer.of_parts(parts, weight, bias, slope=0.0 if self.active else 1.0)

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the one convolution that equals convolution and norm in evaluation."""
        scale, shift = self.norm.folded()
        return self.convolution.weight * scale.view(-1, 1, 1, 1), shift
