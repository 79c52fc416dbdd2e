"""Coordinates of geometric matching: mappings, mirrored images, images of two sizes, fixed-size input."""

import numpy as np
import pytest
import torch

from flowzoo.blocks.matching_geometry import mapping_to_flow, mirror_back, positions, prepare, to_second_size
from flowzoo.blocks.vgg import DEVIATION, MEAN, VGGPyramid


def test_a_mapping_of_corners_goes_to_corners():
    mapping = torch.tensor([[-1.0, 1.0], [-1.0, 1.0]]).view(1, 2, 1, 2).expand(1, 2, 5, 2)
    place = positions(torch.zeros(1, 2, 5, 2)) + mapping_to_flow(mapping)
    assert torch.equal(place[0, 0, :, 0], torch.zeros(5))
    assert torch.equal(place[0, 0, :, 1], torch.ones(5))
    assert torch.equal(place[0, 1, :, 1], torch.full((5,), 4.0))


def test_flow_from_a_mirrored_image_is_mirrored_back():
    # Where the mirrored image has pixel x, the image has width - 1 - x; a mirror image matches itself with zero flow.
    flow = mirror_back(torch.zeros(1, 2, 3, 6))
    assert torch.equal(flow[0, 0, 0] + torch.arange(6), torch.arange(5, -1, -1.0))
    assert torch.equal(flow[:, 1], torch.zeros(1, 3, 6))


def test_flow_to_another_size_keeps_pixel_centres():
    flow = torch.zeros(1, 2, 4, 8)
    place = positions(flow) + to_second_size(flow, (8, 4))
    assert torch.allclose((place[0, 0, 0] + 0.5) / 4, (torch.arange(8) + 0.5) / 8)
    assert torch.allclose((place[0, 1, :, 0] + 0.5) / 8, (torch.arange(4) + 0.5) / 4)


@pytest.mark.parametrize("size", [(256, 256), (1, 1), (100, 300), (513, 400)])
def test_input_is_the_area_average(size):
    images = torch.rand(1, 3, *size)
    found = prepare(images, (256, 256), "float")[0].numpy()
    mean, deviation = (np.array(v).reshape(3, 1, 1) for v in (MEAN, DEVIATION))
    for row, column in ((0, 0), (255, 255), (100, 31)):
        rows = slice(row * size[0] // 256, -(-(row + 1) * size[0] // 256))
        columns = slice(column * size[1] // 256, -(-(column + 1) * size[1] // 256))
        average = images[0, :, rows, columns].numpy().mean(axis=(1, 2))
        np.testing.assert_allclose(found[:, row, column] * deviation[:, 0, 0] + mean[:, 0, 0], average, atol=1e-5)


def test_8bit_input_keeps_whole_grey_levels_and_cuts_the_rest():
    grey = torch.arange(256.0).view(1, 1, 16, 16).expand(1, 3, 16, 16) / 255
    whole, cut = prepare(grey, (16, 16), "float"), prepare(grey, (16, 16), "8-bit")
    assert torch.allclose(whole, cut, atol=1e-5)
    assert torch.allclose(prepare(grey + 0.9 / 255, (16, 16), "8-bit"), cut, atol=1e-5)


def test_vgg_levels_are_halved_and_frozen():
    backbone = VGGPyramid()
    sizes = {level: tuple(maps.shape[1:]) for level, maps in backbone(torch.rand(1, 3, 35, 50), (0, 2, 4)).items()}
    assert sizes == {0: (64, 35, 50), 2: (128, 8, 12), 4: (512, 2, 3)}
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert all(parameter.requires_grad for parameter in VGGPyramid(trained=True).parameters())
    assert sum(parameter.numel() for parameter in backbone.parameters()) == 7_635_264
