"""Global matching against loops over all positions."""

import numpy as np
import pytest
import torch

from flowzoo.blocks import global_matching
from flowzoo.blocks.global_matching import CandidateChoice, GlobalMatching, MatchingFeatures, read_scores


def by_loop(scores: np.ndarray, top: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The definition, pixel by pixel, for the rows from `top` on."""
    height, width = size
    rows = scores.shape[0]
    flow, confidence = np.zeros((2, rows, width)), np.zeros((rows, width))
    for y in range(rows):
        for x in range(width):
            density = np.exp(scores[y, x].astype(np.float64))
            density = (density / density.sum()).reshape(height, width)
            by, bx = np.unravel_index(density.argmax(), density.shape)
            total, mean = 0.0, np.zeros(2)
            for py in range(max(by - 2, 0), min(by + 3, height)):
                for px in range(max(bx - 2, 0), min(bx + 3, width)):
                    total += density[py, px]
                    mean += density[py, px] * np.array([px, py])
            flow[:, y, x] = mean / total - [x, top + y]
            confidence[y, x] = total
    return flow, confidence


@pytest.mark.parametrize(("size", "top", "rows"), [((5, 7), 0, 5), ((6, 4), 2, 3), ((1, 1), 0, 1), ((3, 9), 2, 1)])
def test_reading_is_its_definition(size: tuple[int, int], top: int, rows: int) -> None:
    generator = torch.Generator().manual_seed(sum(size))
    scores = torch.randn(2, rows, size[1], size[0] * size[1], generator=generator) * 3
    match = read_scores(scores, size, top)
    for sample in range(2):
        flow, confidence = by_loop(scores[sample].numpy(), top, size)
        np.testing.assert_allclose(match.flow[sample].numpy(), flow, atol=1e-5)
        np.testing.assert_allclose(match.confidence[sample, 0].numpy(), confidence, atol=1e-6)


def test_scores_are_all_products() -> None:
    matching = GlobalMatching((3,), channels=4, outputs=5, blocks=0)
    features = torch.randn(4, 5, 3, 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        scores = matching.scores(features)
    assert scores.shape == (2, 3, 2, 6)
    for sample, y, x, v, u in [(0, 0, 0, 0, 0), (1, 2, 1, 0, 1), (0, 1, 0, 2, 0)]:
        expected = 10 * float(features[sample, :, y, x] @ features[2 + sample, :, v, u])
        assert float(scores[sample, y, x, v * 2 + u]) == pytest.approx(expected, rel=1e-5)


def test_a_map_that_was_moved_is_found() -> None:
    generator = torch.Generator().manual_seed(1)
    first = torch.nn.functional.normalize(torch.randn(1, 16, 8, 12, generator=generator), dim=1)
    second = first.roll((3, -5), dims=(2, 3))
    matching = GlobalMatching((3,), channels=4, outputs=16, blocks=0)
    with torch.no_grad():
        matching.log_sharpness.fill_(5.0)
        match = matching(torch.cat([first, second]))
    inside = match.flow[0, :, :5, 5:]
    torch.testing.assert_close(inside, torch.tensor([-5.0, 3.0])[:, None, None].expand_as(inside), atol=0.05, rtol=0)
    assert float(match.confidence[0, 0, :5, 5:].min()) > 0.9


def test_a_few_rows_at_a_time_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    matching = GlobalMatching((3,), channels=4, outputs=6, blocks=0)
    features = torch.randn(4, 6, 7, 5, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        whole = matching(features)
        monkeypatch.setattr(global_matching, "SCORES_AT_ONCE", 2 * 35 * 5 * 2 + 1)
        parts = matching(features)
    torch.testing.assert_close(parts.flow, whole.flow, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(parts.confidence, whole.confidence, atol=1e-5, rtol=1e-5)


def test_features_have_length_one_and_come_from_all_levels() -> None:
    features = MatchingFeatures((4, 6), channels=8, outputs=5, blocks=1)
    levels = [torch.randn(2, 4, 6, 8, requires_grad=True), torch.randn(2, 6, 3, 4, requires_grad=True)]
    found = features(levels)
    assert found.shape == (2, 5, 6, 8)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(2, 6, 8))
    found[:, 0].sum().backward()
    assert all(level.grad is not None and bool(level.grad.any()) for level in levels)


def test_a_choice_leaves_the_flow_until_it_is_trained() -> None:
    torch.manual_seed(0)
    choice = CandidateChoice(evidence=3, context=2, width=8)
    flow, candidate = torch.randn(1, 2, 4, 5), torch.randn(1, 2, 4, 5) * 100
    seen = [torch.randn(1, 3, 4, 5), torch.randn(1, 3, 4, 5), torch.randn(1, 2, 4, 5)]
    assert torch.equal(choice(flow, candidate, seen), flow)
    choice(flow, candidate, seen).sum().backward()
    assert choice.gate.weight.grad is not None
    assert bool(choice.gate.weight.grad.any())
    assert choice.gate.bias is not None
    with torch.no_grad():
        choice.gate.bias.fill_(20.0)
    torch.testing.assert_close(choice(flow, candidate, seen), candidate, atol=1e-4, rtol=1e-4)
