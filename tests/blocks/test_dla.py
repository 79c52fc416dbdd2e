"""Deep layer aggregation: what inference does differently changes nothing."""

import pytest
import torch

from flowzoo.blocks.dla import CHANNELS, DLA34
from flowzoo.blocks.dla_up import DLAUp
from flowzoo.blocks.normalised_convolution import NormalisedConvolution


@pytest.fixture(scope="module")
def network():
    """Backbone and aggregation with norms that do something."""
    torch.manual_seed(3)
    built = torch.nn.Sequential(DLA34(), DLAUp(CHANNELS[1:], finest_used=1)).eval()
    for layer in built.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
            torch.nn.init.normal_(layer.bias)
            torch.nn.init.normal_(layer.running_mean)
            torch.nn.init.uniform_(layer.running_var, 0.5, 1.5)
    return built.to(memory_format=torch.channels_last)


def assert_same_levels(found, wanted):
    for level, exact in zip(found, wanted, strict=True):
        torch.testing.assert_close(level.double(), exact.double(), rtol=0, atol=1e-5 * exact.abs().max().item())


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_inference_gives_what_training_code_gives(network, batch):
    images = torch.rand(batch, 3, 128, 192, generator=torch.Generator().manual_seed(batch))
    wanted = [level.detach() for level in network(images)]  # recorded: each norm behind its convolution, parts joined
    with torch.inference_mode():
        assert_same_levels(network(images), wanted)


def test_samples_of_a_batch_go_apart_only_for_inference(network):
    seen = []
    handle = network[0].stem.register_forward_pre_hook(lambda layer, given: seen.append(given[0].shape[0]))
    images = torch.rand(2, 3, 64, 64)
    network(images)
    with torch.no_grad():
        network(images)
    handle.remove()
    assert seen == [2, 1, 1]


@pytest.mark.parametrize(("kernel", "channels"), [(3, (64, 64)), (1, (64, 64, 48)), (3, (40, 30, 7))])
def test_parts_are_as_the_maps_they_make_up(kernel, channels):
    torch.manual_seed(1)
    layer = NormalisedConvolution(sum(channels), 64, kernel).eval()
    parts = [torch.randn(1, count, 44, 47).contiguous(memory_format=torch.channels_last) for count in channels]
    wanted = layer(torch.cat(parts, dim=1)).detach()
    with torch.no_grad():
        found = layer(*parts)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5 * wanted.abs().max().item())
