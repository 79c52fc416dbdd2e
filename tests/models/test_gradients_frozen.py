"""Gradients pass through every frozen network in eval mode, to both images."""

import pytest
import torch
import torch.nn.functional as F

import flowzoo
from flowzoo import registry
from flowzoo.blocks.matching_geometry import prepare
from flowzoo.blocks.resize_8bit import enlarge_8bit
from flowzoo.blocks.straight_through import straight_through


def frozen(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return registry.build(name).eval().requires_grad_(False)


@pytest.mark.parametrize("name", flowzoo.list_models(task="flow"))
def test_flow_networks(name: str) -> None:
    network = frozen(name)
    images = [torch.rand(1, 3, 64, 64, requires_grad=True) for _ in range(2)]
    network(*images).flow.square().mean().backward()
    for image in images:
        assert image.grad is not None
        assert image.grad.isfinite().all()
        assert image.grad.any()


def test_a_gradient_goes_the_way_of_the_step_instead() -> None:
    value = torch.tensor([0.3, 1.7], requires_grad=True)
    found = straight_through(value.round(), value * 3)
    assert torch.equal(found, value.round())
    found.sum().backward()
    assert value.grad.tolist() == [3, 3]


def test_rounding_passes_the_gradient_of_the_resize_without_it() -> None:
    images = torch.rand(1, 3, 9, 12, requires_grad=True)
    weights = torch.rand(1, 3, 18, 24)
    (found,) = torch.autograd.grad((enlarge_8bit(images, (18, 24)) * weights).sum(), images)
    plain = F.interpolate(images, (18, 24), mode="bilinear", align_corners=False)
    (wanted,) = torch.autograd.grad((plain * weights).sum(), images)
    torch.testing.assert_close(found, wanted)
    assert torch.equal(enlarge_8bit(images, (18, 24)), enlarge_8bit(images.detach(), (18, 24)))
    images = torch.rand(1, 3, 8, 12, requires_grad=True)
    weights = torch.rand(1, 3, 4, 4)
    found, wanted = (
        torch.autograd.grad((prepare(images, (4, 4), rounding) * weights).sum(), images)[0]
        for rounding in ("8-bit", "float")
    )
    torch.testing.assert_close(found, wanted)
    assert torch.equal(prepare(images, (4, 4), "8-bit"), prepare(images.detach(), (4, 4), "8-bit"))
