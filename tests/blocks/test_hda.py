"""HD3's decoders: what inference overwrites changes neither their results nor what they were given."""

import pytest
import torch

from flowzoo.blocks.hda import DensityDecoder
from flowzoo.blocks.normalised_convolution import BatchNorm, overwrite


def with_norms_that_do_something(part):
    for layer in part.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.weight, -1.5, 1.5)
            torch.nn.init.normal_(layer.bias)
            torch.nn.init.normal_(layer.running_mean)
            torch.nn.init.uniform_(layer.running_var, 0.5, 1.5)
    return part.eval().to(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [(3, 5), (44, 47)])
@pytest.mark.parametrize("handed", [0, 9])
@pytest.mark.parametrize("aggregate", [True, False])
def test_inference_gives_what_training_code_gives(aggregate, handed, size):
    torch.manual_seed(4)
    decoder = with_norms_that_do_something(DensityDecoder(20, 25, aggregate=aggregate, handed=handed))
    maps = torch.randn(2, 20, *size).contiguous(memory_format=torch.channels_last)
    given = maps.clone()
    wanted = decoder(maps)  # recorded: nothing may be overwritten
    with torch.inference_mode():
        found = decoder(maps)
    assert torch.equal(maps, given)
    for part, exact in zip(found, wanted, strict=True):
        assert (part is None) == (exact is None)
        if part is not None:
            torch.testing.assert_close(part, exact.detach(), rtol=0, atol=1e-5 * exact.abs().max().item())


def test_a_norm_is_overwritten_only_for_inference_in_its_type():
    norm = with_norms_that_do_something(BatchNorm(8))
    maps = torch.randn(2, 8, 5, 6)
    assert not norm.can_overwrite(maps)
    with torch.no_grad():
        assert norm.can_overwrite(maps)
        assert not norm.can_overwrite(maps.bfloat16())
        assert not norm.train().can_overwrite(maps)
        norm.eval()
        wanted = norm(maps).relu()
        assert overwrite(maps, *norm.folded()) is maps
    torch.testing.assert_close(maps, wanted, rtol=0, atol=1e-6 * wanted.abs().max().item())
