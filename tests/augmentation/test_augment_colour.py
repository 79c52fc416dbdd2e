"""Colour changes, noise and the eraser against direct formulas."""

import colorsys

import numpy as np
import pytest
import torch

from flowzoo.augmentation import Augmentation, AugmentationSettings, TrainingSample
from flowzoo.augmentation.augment import erase, noisy
from flowzoo.augmentation.colour import (
    GREY,
    ChromaticPlan,
    ColourPlan,
    chromatic,
    colour_matrix,
    draw_colour,
    recolour,
)
from flowzoo.augmentation.plan import draw_rectangles


@pytest.fixture
def frame() -> torch.Tensor:
    return torch.randint(0, 256, (3, 20, 24), dtype=torch.uint8)


def test_no_change_is_division_by_255(frame):
    plan = ColourPlan(1.0, np.ones(3), 0.0, 1.0, np.eye(3))
    assert torch.equal(recolour(frame, plan), frame.float() / 255)


def test_tables_are_the_formula(frame):
    gain = np.array((1.2, 0.8, 1.0))
    result = recolour(frame, ColourPlan(1.3, gain, -0.05, 1.0, np.eye(3)))
    wanted = gain[:, None, None] * (frame.numpy() / 255) ** 1.3 - 0.05
    assert np.abs(result.numpy() - wanted.clip(0, 1)).max() < 1e-6


def test_contrast_keeps_the_mean_grey():
    smooth = (torch.linspace(90, 160, 64 * 64).view(1, 64, 64).expand(3, -1, -1)).to(torch.uint8).contiguous()
    result = recolour(smooth, ColourPlan(1.0, np.ones(3), 0.0, 1.5, np.eye(3)))
    before = smooth.float() / 255
    assert abs(float(result.mean() - before.mean())) < 5e-3
    assert abs(float(result.std() / before.std()) - 1.5) < 0.01


def test_hue_and_saturation_leave_grey_alone():
    for saturation, hue in ((0.3, 0.2), (1.7, -0.4), (0.0, 0.0)):
        assert np.allclose(colour_matrix(saturation, hue) @ np.full(3, 0.6), 0.6)
    assert np.allclose(colour_matrix(1.0, 1.0), np.eye(3))
    assert np.allclose(colour_matrix(0.0, 0.0) @ (0.2, 0.5, 0.9), GREY @ (0.2, 0.5, 0.9))


def test_a_third_of_a_turn_swaps_the_primary_colours():
    red = np.array((0.8, 0.2, 0.2))
    turned = colour_matrix(1.0, 1 / 3) @ red
    hue = colorsys.rgb_to_hsv(*turned)[0] - colorsys.rgb_to_hsv(*red)[0]
    assert abs((hue % 1) - 1 / 3) < 1e-6


def test_both_frames_change_alike_unless_asymmetric():
    settings = AugmentationSettings(common_gain=0.5, common_hue=0.5, common_gamma=(0.7, 1.5))
    first, second = draw_colour(np.random.default_rng(1), settings)
    assert first.gamma == second.gamma
    assert np.array_equal(first.matrix, second.matrix)
    settings = AugmentationSettings(common_gain=0.5, asymmetric=1.0)
    first, second = draw_colour(np.random.default_rng(1), settings)
    assert not np.array_equal(first.gain, second.gain)


def test_draws_stay_within_their_ranges():
    settings = AugmentationSettings(common_gamma=(0.7, 1.5), common_brightness=0.2, own_brightness=0.1)
    plans = [draw_colour(np.random.default_rng(seed), settings)[1] for seed in range(300)]
    assert min(plan.gamma for plan in plans) >= 0.7
    assert max(plan.gamma for plan in plans) <= 1.5
    assert 0.2 < max(abs(plan.offset) for plan in plans) <= 0.3


def plain_chromatic() -> dict:
    return {
        "brightness": (1.0, 1.0, 0.0),
        "saturation": (1.0, 1.0, 0.0),
        "colour": np.array(((1.0, 1.0, 0.0), (1.0, 1.0, 0.0))),
        "contrast": (1.0, 1.0, 0.0),
        "turn": 0.0,
    }


def test_chromatic_without_change_is_the_identity():
    pair = torch.rand(2, 3, 16, 16)
    assert float((chromatic(pair, ChromaticPlan(**plain_chromatic())) - pair).abs().max()) < 1e-4


def test_chromatic_without_saturation_leaves_multiples_of_one_colour():
    pair = torch.rand(2, 3, 16, 16) * 0.5 + 0.2
    result = chromatic(pair, ChromaticPlan(**(plain_chromatic() | {"saturation": (1.0, 0.0, 0.0)})))
    ratio = result / result.mean(dim=1, keepdim=True)
    assert float(ratio.std(dim=(0, 2, 3)).max()) < 1e-3


def test_chromatic_contrast_scales_brightness_about_its_mean():
    pair = torch.full((2, 3, 16, 16), 0.4)
    pair[:, :, :8] = 0.6
    result = chromatic(pair, ChromaticPlan(**(plain_chromatic() | {"contrast": (1.0, 0.5, 0.0)})))
    assert abs(float(result[:, :, :8].mean() - result[:, :, 8:].mean())) == pytest.approx(0.1, abs=0.01)


def test_noise_has_the_asked_strength_and_is_fresh_in_each_frame():
    pair = torch.full((2, 3, 64, 64), 0.5)
    result = noisy(pair.clone(), 0.05, np.array(((3, 150), (90, 7)))) - 0.5
    assert float(result.std()) == pytest.approx(0.05, rel=0.03)
    correlation = float((result[0] * result[1]).mean() / 0.05**2)
    assert abs(correlation) < 0.05
    assert torch.equal(noisy(pair.clone(), 0.0, np.zeros((2, 2), dtype=np.int64)), pair)


def test_eraser_fills_rectangles_with_the_mean():
    frame = torch.rand(3, 80, 90)
    before, mean = frame.clone(), frame.mean(dim=(1, 2))
    erase(frame, draw_rectangles(np.random.default_rng(2), (20.0, 30.0), (80, 90)))
    changed = (frame != before).any(dim=0)
    assert bool(changed.any())
    assert torch.allclose(frame[:, changed], mean[:, None].expand(-1, int(changed.sum())))
    assert float(changed.float().mean()) < 0.3


def test_bytes_and_floats_give_the_same_result(frame):
    settings = AugmentationSettings(common_gain=0.3, common_gamma=(0.7, 1.4), noise=(0.01, 0.02), zoom=(1.1, 1.2))
    flow, valid = torch.zeros(2, 20, 24), torch.ones(20, 24, dtype=torch.bool)
    results = [
        Augmentation(settings, (16, 16))(TrainingSample(values, values, flow, valid), 0, 0)
        for values in (frame, frame.float() / 255)
    ]
    assert torch.equal(results[0].first, results[1].first)
