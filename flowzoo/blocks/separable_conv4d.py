"""GOCor's query regulariser R: a 4D kernel as the product of two 2D ones (equation 6; appendix A)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS = 16


class SeparableConv4d(nn.Module):
    """3x3 over the last two axes (1 -> 16 channels), then 3x3 over the first two (16 -> 16); no bias, padding 1."""

    def __init__(self, channels: int = CHANNELS) -> None:
        super().__init__()
        self.last = nn.Parameter(torch.empty(channels, 1, 3, 3))
        self.first = nn.Parameter(torch.empty(channels, channels, 3, 3))
        for weight in (self.last, self.first):
            nn.init.normal_(weight, std=1e-3)

    def forward(self, volume: Tensor) -> Tensor:
        """(B,A1,A2,B1,B2) -> (B,B1,B2,16,A1,A2); linear."""
        batch, a1, a2, b1, b2 = volume.shape
        channels = self.last.shape[0]
        over_last = F.conv2d(volume.reshape(-1, 1, b1, b2), self.last.to(volume.dtype), padding=1)
        swapped = over_last.view(batch, a1 * a2, channels, b1 * b2).permute(0, 3, 2, 1)
        over_first = F.conv2d(swapped.reshape(-1, channels, a1, a2), self.first.to(volume.dtype), padding=1)
        return over_first.view(batch, b1, b2, channels, a1, a2)

    def transpose(self, maps: Tensor) -> Tensor:
        """The adjoint: (B,B1,B2,16,A1,A2) -> (B,A1,A2,B1,B2)."""
        batch, b1, b2, channels, a1, a2 = maps.shape
        over_first = F.conv_transpose2d(maps.reshape(-1, channels, a1, a2), self.first.to(maps.dtype), padding=1)
        swapped = over_first.view(batch, b1 * b2, channels, a1 * a2).permute(0, 3, 2, 1)
        over_last = F.conv_transpose2d(swapped.reshape(-1, channels, b1, b2), self.last.to(maps.dtype), padding=1)
        return over_last.view(batch, a1, a2, b1, b2)
