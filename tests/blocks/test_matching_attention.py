"""Attention before global matching, against loops over all tokens in float64."""

import numpy as np
import torch
from torch import Tensor, nn

from flowzoo.blocks.matching_attention import Attention, AttentionBlock, MatchingAttention, TokenNorm


def numbers(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


def attention_by_loop(part: Attention, tokens: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The definition for one image: (N,C), (M,C) -> (N,C), token by token and head by head."""
    channels = tokens.shape[1]
    size = channels // part.heads
    query = tokens @ numbers(part.query.weight).T + numbers(part.query.bias)
    both = others @ numbers(part.key_value.weight).T + numbers(part.key_value.bias)
    key, value = both[:, :channels], both[:, channels:]
    found = np.zeros_like(tokens)
    for row in range(len(tokens)):
        for start in range(0, channels, size):
            own = slice(start, start + size)
            weights = np.exp([query[row, own] @ one[own] / size**0.5 for one in key])
            found[row, own] = sum(w * one[own] for w, one in zip(weights / weights.sum(), value, strict=True))
    return found @ numbers(part.out.weight).T + numbers(part.out.bias)


def normalised(norm: TokenNorm, tokens: np.ndarray) -> np.ndarray:
    centred = tokens - tokens.mean(axis=1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5)
    return centred / deviation * numbers(norm.weight) + numbers(norm.bias)


def block_by_loop(block: AttentionBlock, images: list[np.ndarray]) -> list[np.ndarray]:
    """Tokens (N,C) of the two images of a pair."""
    seen = [normalised(block.own_norm, image) for image in images]
    images = [image + attention_by_loop(block.own, one, one) for image, one in zip(images, seen, strict=True)]
    first, second = (normalised(block.other_norm, image) for image in images)
    images = [
        images[0] + attention_by_loop(block.other, first, second),
        images[1] + attention_by_loop(block.other, second, first),
    ]
    found = []
    for image in images:
        wide = normalised(block.norm, image) @ numbers(block.widen.weight).T + numbers(block.widen.bias)
        wide = wide * torch.special.ndtr(torch.from_numpy(wide)).numpy()  # x times the normal distribution: GELU
        found.append(image + wide @ numbers(block.narrow.weight).T + numbers(block.narrow.bias))
    return found


def by_loop(part: MatchingAttention, maps: np.ndarray) -> np.ndarray:
    """The definition of the whole: (2B,C,h,w) -> (2B,C,h,w)."""
    count, channels, height, width = maps.shape
    assert part.position.bias is not None
    weight, bias = numbers(part.position.weight), numbers(part.position.bias)
    placed = maps + bias[:, None, None]
    for y, x in np.ndindex(height, width):
        for v, u in np.ndindex(3, 3):
            if 0 <= y + v - 1 < height and 0 <= x + u - 1 < width:
                placed[:, :, y, x] += weight[:, 0, v, u] * maps[:, :, y + v - 1, x + u - 1]
    tokens = placed.reshape(count, channels, -1).transpose(0, 2, 1)
    found = np.zeros_like(maps)
    for pair in range(count // 2):
        places = [pair, count // 2 + pair]
        images = [tokens[place] for place in places]
        for block in part.blocks:
            assert isinstance(block, AttentionBlock)
            images = block_by_loop(block, images)
        for place, image in zip(places, images, strict=True):
            out = normalised(part.norm, image) @ numbers(part.out.weight).T + numbers(part.out.bias)
            found[place] = maps[place] + out.T.reshape(channels, height, width)
    return found


def drawn(channels: int = 8, blocks: int = 2, heads: int = 2) -> MatchingAttention:
    """All of whose parameters say something."""
    torch.manual_seed(3)
    part = MatchingAttention(channels, blocks, heads)
    for parameter in part.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return part


def test_it_is_its_definition() -> None:
    part, maps = drawn(), torch.randn(4, 8, 3, 5, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = by_loop(part, numbers(maps))
        np.testing.assert_allclose(part.double()(maps.double()).numpy(), expected, atol=1e-9)
        np.testing.assert_allclose(part.float()(maps).numpy(), expected, atol=1e-4)


def test_what_is_kept_of_it_does_not_grow_with_the_square_of_the_map() -> None:
    """Training at 1/32 keeps no probabilities of all pairs of tokens, of any head."""
    kept: list[int] = []

    def keep(saved: Tensor) -> Tensor:
        kept.append(saved.numel())
        return saved

    maps = torch.randn(2, 8, 20, 24, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved):
        drawn()(maps)
    assert max(kept) <= 2 * maps.numel()  # keys and values, or the feed-forward layer's


def test_untrained_it_adds_nothing_and_then_learns() -> None:
    torch.manual_seed(0)
    part = MatchingAttention(8, blocks=1, heads=2)
    maps = torch.randn(2, 8, 3, 4)
    assert torch.equal(part(maps), maps)
    part(maps).square().sum().backward()
    assert part.out.weight.grad is not None
    assert bool(part.out.weight.grad.any())
    torch.nn.init.normal_(part.out.weight)
    part(maps).square().sum().backward()
    assert not [name for name, value in part.named_parameters() if value.grad is None or not value.grad.any()]


def test_norms_stay_in_float32_under_autocast() -> None:
    part, maps = drawn(), torch.randn(2, 8, 3, 4)
    types: dict[type, set[torch.dtype]] = {TokenNorm: set(), nn.Linear: set()}

    def note(module: nn.Module, _: object, found: Tensor) -> None:
        types[type(module)].add(found.dtype)

    for module in part.modules():
        if type(module) in types:
            module.register_forward_hook(note)
    with torch.autocast("cpu", torch.bfloat16):
        assert part(maps).dtype == torch.float32
    assert types == {TokenNorm: {torch.float32}, nn.Linear: {torch.bfloat16}}
    assert part.bfloat16()(maps.bfloat16()).dtype == torch.float32
