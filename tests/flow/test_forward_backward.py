"""Occlusion and confidence from the flows of both directions, also of images of two sizes."""

import numpy as np
import torch

import flowzoo
from flowzoo.flow.forward_backward import cycle_confidence, occlusion
from flowzoo.inference.estimator import Estimator


def constant(x, y, height, width):
    return torch.tensor([x, y]).view(1, 2, 1, 1).expand(1, 2, height, width)


def test_confidence_falls_with_the_distance_from_the_start():
    forward = constant(2.0, 1.0, 6, 9)
    assert torch.allclose(cycle_confidence(forward, constant(-2.0, -1.0, 6, 9))[..., :5, :7], torch.ones(1, 1, 5, 7))
    off = cycle_confidence(forward, constant(-2.0, 2.0, 6, 9))
    assert torch.allclose(off[..., :5, :7], torch.full((1, 1, 5, 7), 1 / 4))
    assert (off[..., 7:] == 0).all()
    assert (off[..., 5:, :] == 0).all()


def test_images_of_two_sizes():
    # The second image is the first at twice the size; pixel centres are at half numbers.
    y, x = torch.meshgrid(torch.arange(4.0), torch.arange(5.0), indexing="ij")
    forward = torch.stack([x + 0.5, y + 0.5]).unsqueeze(0)
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(10.0), indexing="ij")
    backward = torch.stack([-0.5 * x - 0.25, -0.5 * y - 0.25]).unsqueeze(0)
    assert torch.allclose(cycle_confidence(forward, backward), torch.ones(1, 1, 4, 5))
    assert not occlusion(forward, backward).any()


def test_an_estimator_gives_any_network_a_confidence_on_request():
    network = flowzoo.create("pwcnet-gocor", gocor_iterations=0)
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    assert Estimator(network)(image, image).confidence is None
    confidence = Estimator(network, confidence=True)(image, image).confidence
    assert confidence.shape == (40, 50)
    assert confidence.min() >= 0
    assert confidence.max() <= 1
