"""What a density says against a loop over pixels and windows, and where numbers are none."""

import numpy as np
import pytest
import torch

from flowzoo import operators
from flowzoo.errors import InputError

pytestmark = pytest.mark.usefixtures("native_and_portable")

LAYOUTS = {"planes": torch.contiguous_format, "channels last": torch.channels_last}


def drawn(batch: int, radius: int, height: int, width: int, layout: str = "planes") -> torch.Tensor:
    generator = torch.Generator().manual_seed(radius + width)
    logits = 4 * torch.randn(batch, (2 * radius + 1) ** 2, height, width, generator=generator)
    return logits.contiguous(memory_format=LAYOUTS[layout])


def read_one(logits: np.ndarray) -> tuple[float, float, float]:
    """One pixel in float64: (2c+1)^2 logits -> x, y, confidence."""
    side = round(len(logits) ** 0.5)
    density = np.exp(logits - logits.max())
    density = (density / density.sum()).reshape(side, side)
    masses = [(density[y : y + 2, x : x + 2].sum(), y, x) for y in range(side - 1) for x in range(side - 1)]
    mass, y, x = max(masses, key=lambda entry: entry[0])
    right, bottom = density[y : y + 2, x + 1].sum() / mass, density[y + 1, x : x + 2].sum() / mass
    return x - side // 2 + right, y - side // 2 + bottom, mass


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [(1, 1, 1), (2, 3, 5), (1, 1, 16), (2, 7, 37)])
@pytest.mark.parametrize("radius", [1, 2, 4, 8])
def test_every_pixel_is_read_as_in_a_loop(radius: int, size: tuple[int, int, int], layout: str) -> None:
    logits = drawn(size[0], radius, *size[1:], layout)
    flow, confidence = operators.density_reading(logits)
    wanted = np.zeros((size[0], 3, *size[1:]))
    for sample, y, x in np.ndindex(*size):
        wanted[sample, :, y, x] = read_one(logits[sample, :, y, x].double().numpy())
    np.testing.assert_allclose(torch.cat([flow, confidence], dim=1).numpy(), wanted, rtol=0, atol=2e-6 * radius)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_first_of_equal_windows_is_read(layout: str) -> None:
    logits = torch.zeros(1, 25, 1, 40).contiguous(memory_format=LAYOUTS[layout])
    logits[0, 13, 0, 7] = logits[0, 8, 0, 7] = 90.0  # two bins below each other, on the two sides of which windows tie
    flow, confidence = operators.density_reading(logits)
    assert flow[0, :, 0, 3].tolist() == [-1.5, -1.5]
    assert confidence[0, 0, 0, 3].item() == pytest.approx(4 / 25)
    assert flow[0, :, 0, 7].tolist() == [1.0, -0.5]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_no_number_stays_in_its_pixel(layout: str) -> None:
    logits = drawn(1, 4, 2, 40, layout)
    wanted = [part.clone() for part in operators.density_reading(logits)]
    logits[0, 80, 0, 3], logits[0, 0, 1, 39], logits[0, 40, 1, 17] = torch.nan, torch.nan, torch.inf
    logits[0, 5, 0, 20] = -torch.inf  # a bin that is never taken
    found = operators.density_reading(logits)
    spoilt, changed = torch.zeros(2, 40, dtype=torch.bool), torch.zeros(2, 40, dtype=torch.bool)
    spoilt[0, 3] = spoilt[1, 39] = spoilt[1, 17] = changed[0, 20] = True
    for part, exact in zip(found, wanted, strict=True):
        assert part[..., spoilt].isnan().all()
        assert torch.equal(part[..., ~(spoilt | changed)], exact[..., ~(spoilt | changed)])
        assert part[..., ~spoilt].isfinite().all()


@pytest.mark.parametrize("channels", [1, 4, 80])
def test_other_numbers_of_bins_are_refused(channels: int) -> None:
    with pytest.raises(InputError, match="channels"):
        operators.density_reading(torch.zeros(1, channels, 2, 2))
