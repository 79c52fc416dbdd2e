"""Wren: convex upsampling against a loop, any size, its settings, and the weights that ship."""

import numpy as np
import pytest
import torch
from torch import Tensor

import flowzoo
from flowzoo import registry
from flowzoo.blocks.global_matching import read_scores
from flowzoo.errors import InputError
from flowzoo.operators import convex_upsampling
from flowzoo.training.flow.objective import make_loss
from flowzoo.training.flow.settings import LossSettings
from flowzoo.training.inherit import inherit


def by_loop(flow: np.ndarray, logits: np.ndarray, factor: int) -> np.ndarray:
    """The definition, pixel by pixel."""
    _, height, width = flow.shape
    out = np.zeros((2, height * factor, width * factor))
    for y in range(height * factor):
        for x in range(width * factor):
            cy, cx, part = y // factor, x // factor, y % factor * factor + x % factor
            weights = np.exp([logits[k * factor**2 + part, cy, cx] for k in range(9)])
            weights /= weights.sum()
            for k in range(9):
                ny, nx = min(max(cy + k // 3 - 1, 0), height - 1), min(max(cx + k % 3 - 1, 0), width - 1)
                out[:, y, x] += weights[k] * flow[:, ny, nx] * factor
    return out


@pytest.mark.parametrize(("factor", "size"), [(1, (2, 3)), (2, (3, 4)), (4, (1, 2)), (2, (1, 1))])
def test_convex_upsampling_is_its_definition(factor: int, size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(factor)
    flow = torch.randn(2, 2, *size, generator=generator)
    logits = torch.randn(2, 9 * factor**2, *size, generator=generator)
    found = convex_upsampling(flow, logits, factor).numpy()
    for sample in range(2):
        np.testing.assert_allclose(
            found[sample], by_loop(flow[sample].numpy(), logits[sample].numpy(), factor), atol=1e-5
        )


def test_convex_upsampling_has_the_right_gradients() -> None:
    flow = torch.randn(1, 2, 2, 3, dtype=torch.float64, requires_grad=True)
    logits = torch.randn(1, 36, 2, 3, dtype=torch.float64, requires_grad=True)

    def upsample(flow: Tensor, logits: Tensor) -> Tensor:
        return convex_upsampling(flow, logits, 2)

    assert torch.autograd.gradcheck(upsample, (flow, logits))


def test_upsampling_keeps_a_constant_flow() -> None:
    flow = torch.tensor([1.5, -2.0]).view(1, 2, 1, 1).expand(1, 2, 3, 4)
    fine = convex_upsampling(flow, torch.randn(1, 144, 3, 4), 4)
    torch.testing.assert_close(fine, (flow[:, :, :1, :1] * 4).expand(1, 2, 12, 16))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"matching": "global"},
        {"matching": "attention"},
        {"cascade": True},
        {"upsampling": "bilinear", "refinement": "none"},
    ],
)
@pytest.mark.parametrize("size", [(1, 1), (1, 97), (63, 65), (64, 64)])
def test_any_size_is_finite(settings: dict, size: tuple[int, int]) -> None:
    network = flowzoo.create("wren", **settings)
    with torch.inference_mode():
        prediction = network(torch.rand(2, 3, *size), torch.rand(2, 3, *size))
    assert prediction.flow.shape == (2, 2, *size)
    assert prediction.flow.isfinite().all()
    assert network(torch.rand(0, 3, *size), torch.rand(0, 3, *size)).flow.shape == (0, 2, *size)


def test_parameters_are_those_of_the_card() -> None:
    network = flowzoo.create("wren")
    assert sum(parameter.numel() for parameter in network.parameters()) == registry.card("wren").parameters


def test_the_pyramid_is_in_pixels_of_the_image() -> None:
    """In training the loss compares each level with the true flow; all levels of a perfect flow must agree."""
    network = flowzoo.create("wren", upsampling="bilinear", refinement="none")
    with torch.no_grad():
        network.decoder.flow_head.weight.zero_()
        network.decoder.flow_head.bias.copy_(torch.tensor([1.0, 0.0]))
    prediction = network(torch.rand(1, 3, 128, 192), torch.rand(1, 3, 128, 192))
    # Every run of the decoder adds one pixel of its level: 64, then 64 + 64, 64 + 64 + 32, ... pixels of the image.
    steps = np.repeat([64, 32, 16, 8, 4], network.settings.iterations)
    expected = np.cumsum(steps)
    assert [level[:, 0].mean().item() for level in prediction.pyramid] == pytest.approx(expected.tolist())
    assert prediction.flow[:, 0].mean().item() == pytest.approx(steps.sum())


def textured(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A random picture with structure at several sizes, HxWx3 uint8."""
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(1, 3, height, width)
    for cell in (4, 8, 16, 32):
        coarse = torch.rand(1, 3, height // cell + 2, width // cell + 2, generator=generator)
        total += torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic") * cell**0.3
    total = (total - total.amin()) / (total.amax() - total.amin())
    return (total[0].permute(1, 2, 0) * 255).byte().numpy()


@pytest.mark.parametrize("shift", [(0, 3), (-5, 0), (12, -9)])
def test_the_weights_that_ship_follow_a_moved_picture(shift: tuple[int, int]) -> None:
    """Rows, columns; a window of one picture, moved."""
    picture = textured(256, 320)
    top, left = 32, 32
    first = picture[top : top + 160, left : left + 224]
    second = picture[top - shift[0] : top - shift[0] + 160, left - shift[1] : left - shift[1] + 224]
    flow = flowzoo.estimate("wren", first, second)
    error = np.linalg.norm(flow - np.array([shift[1], shift[0]]), axis=-1)
    assert np.median(error) < 0.2


@pytest.mark.parametrize("stop", [True, False])
def test_a_finer_loss_reaches_a_coarser_flow_only_where_gradients_do_not_stop(stop: bool) -> None:
    torch.manual_seed(0)
    network = flowzoo.create("wren", stop_flow_gradient=stop, upsampling="bilinear").train()
    found: list[Tensor] = []
    network.decoder.register_forward_hook(lambda _, inputs, outputs: found.append(outputs[0]))
    finest = network(torch.rand(1, 3, 64, 128), torch.rand(1, 3, 64, 128)).pyramid[-1].square().sum()
    assert len(found) == sum(network.settings.iterations)
    for flow in found[:-1]:
        (gradient,) = torch.autograd.grad(finest, flow, retain_graph=True, allow_unused=True)
        assert (gradient is not None and bool(gradient.any())) != stop


def test_iterations_add_flows_of_a_level() -> None:
    network = flowzoo.create("wren", iterations=(1, 2, 1, 3, 1), refinement="none")
    with torch.inference_mode():
        sizes = [flow.shape[-1] for flow in network(torch.rand(1, 3, 64, 128), torch.rand(1, 3, 64, 128)).pyramid]
    assert sizes == [2, 4, 4, 8, 16, 16, 16, 32]
    for wrong in ({"iterations": (1, 1, 0, 1, 1)}, {"iterations": (0,) * 5}, {"iterations": (1, 1, 1, 1, -1)},
                  {"iterations": (1, 1, 1, 1, 0), "cascade": True}):  # fmt: skip
        with pytest.raises(InputError, match="iterations"):
            flowzoo.create("wren", **wrong)


def test_levels_that_are_not_decoded_leave_the_flow_of_the_one_before() -> None:
    torch.manual_seed(0)
    network = flowzoo.create("wren", refinement="none").eval()
    short = flowzoo.create("wren", refinement="none", iterations=(2, 2, 2, 0, 0)).eval()
    short.load_state_dict(network.state_dict())
    images = torch.rand(2, 1, 3, 64, 128)
    with torch.inference_mode():
        whole, part = network(*images), short(*images)
    assert len(part.pyramid) == 6
    for one, other in zip(part.pyramid, whole.pyramid, strict=False):
        assert torch.equal(one, other)
    expected = torch.nn.functional.interpolate(part.pyramid[-1], (64, 128), mode="bilinear")
    torch.testing.assert_close(part.flow, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("matching", ["local", "attention"])
def test_both_directions_are_those_of_the_exchanged_pair(matching: str) -> None:
    network = flowzoo.create("wren", both_directions=True, refinement="none", matching=matching).eval()
    if matching == "attention":
        torch.nn.init.normal_(network.global_matching.features.attention.out.weight, std=0.1)
        torch.nn.init.constant_(network.choice.gate.bias, 1.0)
    first, second = torch.rand(2, 2, 3, 64, 96)
    with torch.inference_mode():
        there, back = network(first, second), network(second, first)
    torch.testing.assert_close(there.details["backward"], back.flow, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(there.flow, back.details["backward"], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("matching", ["global", "attention"])
def test_global_matching_changes_nothing_until_it_is_trained(matching: str) -> None:
    torch.manual_seed(0)
    shipped = flowzoo.create("wren", "wren", refinement="none").eval()
    wider = registry.build("wren", matching=matching, refinement="none").eval()
    fresh = inherit(wider, shipped.state_dict())
    assert {name.split(".")[0] for name in fresh} == {"global_matching", "choice"}
    first, second = torch.rand(2, 1, 3, 128, 192)
    with torch.inference_mode():
        assert torch.equal(wider(first, second).flow, shipped(first, second).flow)
        assert wider(first, second).details == {}


def test_attention_changes_nothing_of_global_matching_until_it_is_trained() -> None:
    torch.manual_seed(0)
    plain = flowzoo.create("wren", matching="global", refinement="none").eval()
    with torch.no_grad():
        plain.choice.gate.bias.fill_(1.0)  # or no match would be seen in the flow
    attentive = registry.build("wren", matching="attention", refinement="none").eval()
    fresh = inherit(attentive, plain.state_dict())
    assert fresh
    assert all(name.startswith("global_matching.features.attention.") for name in fresh)
    first, second = torch.rand(2, 1, 3, 128, 192)
    with torch.inference_mode():
        expected = plain(first, second).flow
        assert torch.equal(attentive(first, second).flow, expected)
        torch.nn.init.normal_(attentive.global_matching.features.attention.out.weight)
        assert not torch.equal(attentive(first, second).flow, expected)


@pytest.mark.parametrize("both", [True, False])
def test_a_global_match_moves_the_flow_where_it_is_chosen(both: bool) -> None:
    """With the gate open all coarser levels are overruled: flow at 1/16 is the match, whose scores are known."""
    torch.manual_seed(0)
    network = flowzoo.create("wren", matching="global", iterations=(1, 1, 1, 1, 1), both_directions=both).train()
    with torch.no_grad():
        network.choice.gate.bias.fill_(20.0)
        network.decoder.flow_head.weight.zero_()
    prediction = network(*torch.rand(2, 2, 3, 64, 128))
    scores = prediction.details["match_scores"]
    assert scores.shape == (2, 4, 8, 32)
    matched = read_scores(scores, (4, 8)).flow * 16
    at_16 = [flow for flow in prediction.pyramid if flow.shape[-2:] == (4, 8)]
    assert len(at_16) == 2  # the choice, and the decoder's
    torch.testing.assert_close(at_16[0], matched, atol=1e-3, rtol=1e-4)
    assert ("backward_match_scores" in prediction.details) == both
    if both:
        back = read_scores(prediction.details["backward_match_scores"], (4, 8)).flow * 16
        of_16 = [flow for flow in prediction.details["backward_pyramid"] if flow.shape[-2:] == (4, 8)]
        torch.testing.assert_close(of_16[0], back, atol=1e-3, rtol=1e-4)


def test_every_part_of_global_matching_learns() -> None:
    torch.manual_seed(0)
    network = flowzoo.create("wren", matching="attention").train()
    torch.nn.init.normal_(network.choice.gate.weight)
    torch.nn.init.normal_(network.global_matching.features.attention.out.weight)
    loss = make_loss(LossSettings(matching=0.1, level_weights=(0.0, 0.0, 1.0)))
    flow = torch.randn(1, 2, 64, 128) * 8
    loss(network(*torch.rand(2, 1, 3, 64, 128)), flow, torch.ones(1, 64, 128)).backward()
    for name, parameter in network.named_parameters():
        if name.startswith(("global_matching", "choice")):
            assert parameter.grad is not None, name
            assert bool(parameter.grad.any()), name
