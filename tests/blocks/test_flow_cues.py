"""Each occlusion cue against a loop over pixels."""

import math

import numpy as np
import pytest
import torch

from flowzoo.blocks.flow_cues import CUE_CHANNELS, flow_cues


def bilinear(maps: np.ndarray, x: float, y: float) -> np.ndarray:
    """(C,H,W) at a point, zero outside."""
    total = np.zeros(len(maps))
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < maps.shape[1] and 0 <= column < maps.shape[2]:
                total += (1 - abs(x - column)) * (1 - abs(y - row)) * maps[:, row, column]
    return total


def cues_of(flow: np.ndarray, reverse: np.ndarray) -> np.ndarray:
    """All cues of one sample by definition."""
    _, height, width = flow.shape
    cues = np.zeros((6, height, width))
    rebuilt, density = np.zeros((2, height, width)), np.zeros((height, width))
    for row in range(height):
        for column in range(width):
            u, v = flow[:, row, column]
            x, y = column + u, row + v
            cues[:2, row, column] = flow[:, row, column] + bilinear(reverse, x, y)
            cues[5, row, column] = not (0 <= x <= width - 1 and 0 <= y <= height - 1)
            back = reverse[:, row, column]
            for target_row in range(height):
                for target in range(width):
                    share = max(0, 1 - abs(column + back[0] - target)) * max(0, 1 - abs(row + back[1] - target_row))
                    rebuilt[:, target_row, target] -= share * back
                    density[target_row, target] += share
    cues[2:4] = np.where(density > 0, rebuilt / np.where(density > 0, density, 1), 0)
    cues[4] = density
    return cues


@pytest.mark.parametrize(("height", "width"), [(5, 7), (1, 4), (6, 1), (1, 1)])
def test_every_cue_is_its_definition(height, width):
    generator = np.random.default_rng(height * 10 + width)
    flow = torch.from_numpy(generator.normal(0, 2, (4, 2, height, width)))
    cues = flow_cues(flow)
    assert cues.shape == (4, CUE_CHANNELS, height, width)
    for sample in range(4):
        expected = cues_of(flow[sample].numpy(), flow[(sample + 2) % 4].numpy())
        np.testing.assert_allclose(cues[sample], expected, atol=1e-9)


def test_a_translation_is_consistent_inside_and_uncovered_at_the_border():
    flow = torch.zeros(2, 2, 4, 6)
    flow[0, 0], flow[1, 0] = 2.0, -2.0
    cues = flow_cues(flow)[0]
    assert cues[:2, :, :4].abs().max() == 0
    assert (cues[2, :, :4] == 2).all()
    assert cues[4].tolist() == [[1, 1, 1, 1, 0, 0]] * 4
    assert cues[5].tolist() == [[0, 0, 0, 0, 1, 1]] * 4


def test_two_pixels_that_map_to_one_place_are_counted():
    flow = torch.zeros(2, 2, 1, 3)
    flow[1, 0, 0] = torch.tensor([1.0, 0.0, -1.0])
    assert flow_cues(flow)[0, 4].tolist() == [[0, 3, 0]]
