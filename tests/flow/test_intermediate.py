"""Frames between two frames: known motions, and Middlebury's true in-between frames."""

import numpy as np
import pytest
import torch

import flowzoo
from flowzoo.files.images import read_image
from flowzoo.flow.intermediate import between, filled, half_flow, motions_at, sample
from flowzoo.inference.estimator import Estimator
from flowzoo.inference.interpolation import FlowInterpolator


def picture(height=48, width=64, seed=3):
    """A smooth random image, (1,3,H,W) in [0,1]."""
    noise = torch.rand(1, 3, height // 4, width // 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(noise, (height, width), mode="bicubic").clamp(0, 1)


def constant(x, y, image):
    return torch.tensor([x, y]).view(1, 2, 1, 1).expand(1, 2, *image.shape[-2:]).contiguous()


@pytest.mark.parametrize("time", [0.25, 0.5, 0.75])
def test_a_translation_is_found_at_its_moment(time):
    first = picture()
    flow = constant(4.0, -8.0, first)
    second = sample(first, -flow)
    wanted = sample(first, -time * flow)
    for method in (between, half_flow):
        found = method(first, second, flow, -flow, time)
        assert (found - wanted)[..., 10:-10, 10:-10].abs().max() < 0.03
    for motion in motions_at(first, second, flow, -flow, time):
        assert (motion - flow)[..., 10:-10, 10:-10].abs().max() < 1e-4


def test_an_expansion_has_its_motion_at_the_moment_in_between():
    grey = torch.full((1, 3, 64, 64), 0.5)
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    centre = torch.stack([x - 31.5, y - 31.5])[None]
    flow, backward = 0.2 * centre, centre / 1.2 - centre
    # A point at c at the start is at 1.1 c in the middle and moves by 0.2 c in all.
    wanted = 0.2 * centre / 1.1
    found = motions_at(grey, grey, flow, backward, 0.5)
    errors = [(motion - wanted)[..., 8:-8, 8:-8].abs().max().item() for motion in found]
    assert max(errors[:2]) < 0.05  # splatted
    assert max(errors[3::2]) < 0.06  # corrected once
    assert min(errors[2::2]) > 0.3  # read at the same pixel


def test_the_ends_are_the_frames():
    first, second = picture(seed=1), picture(seed=2)
    flow = torch.randn(1, 2, 48, 64)
    assert (between(first, second, flow, -flow, 0.0) - first).abs().max() < 1e-5
    assert (between(first, second, flow, -flow, 1.0) - second).abs().max() < 1e-5


def test_holes_are_filled_from_around():
    values = torch.arange(64.0).view(1, 1, 8, 8)
    known = torch.ones(1, 1, 8, 8, dtype=torch.bool)
    known[..., 3, 4] = False
    result = filled(values, known)
    assert torch.equal(result[known], values[known])
    assert values.min() <= result[0, 0, 3, 4] <= values.max()
    assert abs(result[0, 0, 3, 4] - values[0, 0, 3, 4]) < 10
    assert torch.isfinite(filled(values, torch.zeros_like(known))).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 2)])
def test_any_size(size):
    images = torch.rand(2, 1, 3, *size)
    flow = torch.randn(1, 2, *size)
    assert torch.isfinite(between(*images, flow, -flow, 0.5)).all()


def test_middlebury_in_between(shared):
    """Mean PSNR of the default over four scenes; 31.7 is the mean of the two frames, 34.6 both half-flow warps."""
    data = shared / "data" / "Middlebury"
    interpolate = FlowInterpolator(Estimator(flowzoo.create("wren", "wren"), backward=True))
    scores = []
    for truth in sorted(data.glob("other-gt-interp/*/frame10i11.png")):
        frames = [read_image(data / "other-data" / truth.parent.name / f"frame{k}.png") for k in (10, 11)]
        made = interpolate(frames, [0.5])[0].astype(np.float64)
        scores.append(10 * np.log10(255**2 / np.mean((made - read_image(truth)) ** 2)))
    assert len(scores) == 4
    assert np.mean(scores) >= 35.2
