"""Attention before global matching: the features of each image learn what the other one shows.

Self- and cross-attention in turn: Xu et al., "GMFlow: Learning Optical Flow via Global Matching" (CVPR 2022), section
3.2. Here all positions see all, at a size where these are few, and where they are is told by a depthwise convolution,
whose zero padding marks the borders of a map of any size (Chu et al., "Conditional Positional Encodings for Vision
Transformers", ICLR 2023), instead of by sines.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowzoo.blocks.convolution import as_weights
from flowzoo.blocks.halves import halves
from flowzoo.blocks.precision import at_least_float32

EXPANSION = 2
FIRST_DEVIATION = 0.01
"""Of the weights by which a part of a block adds to the tokens, untrained."""


class MatchingAttention(nn.Module):
    """Adds to both images' maps what attention over both finds; untrained nothing, to the bit.

    Args:
        channels: of the maps.
        blocks: of self-attention, cross-attention and feed-forward layers.
        heads: of each attention; `channels` is a multiple of it.
    """

    def __init__(self, channels: int, blocks: int, heads: int = 2) -> None:
        super().__init__()
        self.position = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.blocks = nn.ModuleList(AttentionBlock(channels, heads) for _ in range(blocks))
        self.norm = TokenNorm(channels)
        self.out = nn.Linear(channels, channels)
        for values in self.out.parameters():
            nn.init.zeros_(values)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (2B,C,h,w), both images' stacked -> (2B,C,h,w), float32 or better."""
        maps = at_least_float32(maps)
        placed = maps + self.position(as_weights(maps, self.position.weight))
        tokens = placed.flatten(2).transpose(1, 2).contiguous()
        for block in self.blocks:
            tokens = block(tokens)
        found = _linear(self.out, self.norm(tokens)).transpose(1, 2)
        seen: Tensor = maps + found.unflatten(2, maps.shape[2:])
        return seen


class AttentionBlock(nn.Module):
    """What a position asks of its own image, then of the other one, then a feed-forward layer; each adds to tokens."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.own_norm, self.other_norm, self.norm = (TokenNorm(channels) for _ in range(3))
        self.own, self.other = Attention(channels, heads), Attention(channels, heads)
        self.widen = nn.Linear(channels, EXPANSION * channels)
        self.narrow = nn.Linear(EXPANSION * channels, channels)
        for last in (self.own.out, self.other.out, self.narrow):
            nn.init.normal_(last.weight, std=FIRST_DEVIATION)
            nn.init.zeros_(last.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """(2B,N,C), both images' stacked -> (2B,N,C)."""
        seen = self.own_norm(tokens)
        tokens = tokens + self.own(seen, seen)
        seen = self.other_norm(tokens)
        first, second = halves(seen)
        tokens = tokens + self.other(seen, torch.cat([second, first]))
        found: Tensor = tokens + _linear(self.narrow, F.gelu(_linear(self.widen, self.norm(tokens))))
        return found


class Attention(nn.Module):
    """Every token takes a mean of others' values, by the products of its query with their keys.

    "Attention Is All You Need" (NeurIPS 2017), section 3.2.2. No matrix of all products is kept.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(channels, channels)
        self.key_value = nn.Linear(channels, 2 * channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, tokens: Tensor, others: Tensor) -> Tensor:
        """Tokens (B,N,C) that ask others (B,M,C) -> (B,N,C)."""
        query = self._by_head(_linear(self.query, tokens))
        key, value = (self._by_head(part) for part in _linear(self.key_value, others).chunk(2, dim=2))
        found = F.scaled_dot_product_attention(query, key, value)
        return _linear(self.out, found.transpose(1, 2).flatten(2))

    def _by_head(self, tokens: Tensor) -> Tensor:
        """(B,N,C) -> (B,heads,N,C/heads)."""
        split: Tensor = tokens.unflatten(2, (self.heads, -1)).transpose(1, 2)
        return split


class TokenNorm(nn.LayerNorm):
    """Layer norm over channels, float32 or better whatever its parameters are and autocast says."""

    def forward(self, input: Tensor) -> Tensor:
        """(B,N,C) -> (B,N,C)."""
        weight, bias = at_least_float32(self.weight), at_least_float32(self.bias)
        return F.layer_norm(at_least_float32(input), self.normalized_shape, weight, bias, self.eps)


def _linear(layer: nn.Module, tokens: Tensor) -> Tensor:
    assert isinstance(layer, nn.Linear), "what blocks are made of"
    found: Tensor = layer(as_weights(tokens, layer.weight))
    return found
