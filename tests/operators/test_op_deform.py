"""Deformable convolution against reference outputs, plain loops, and its own identities."""

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from brute_force import sample

from flowzoo.errors import InputError
from flowzoo.operators import deform

CASES = ["g1k1", "g1k3s2", "g1k5d2", "g2k1s2", "g2k3d2", "g2k5s2", "g8k1", "g8k3", "g8k3p0", "g8k5s2d2"]
GRADIENTS = ("x", "offset", "weight", "mask", "bias")


@pytest.fixture(scope="module")
def reference(shared):
    return np.load(shared / "parity" / "deform-conv.npz")


@pytest.fixture(params=["native", "portable"], autouse=True)
def _backend(request, monkeypatch):
    monkeypatch.setenv("FLOWZOO_NATIVE", "1" if request.param == "native" else "0")


def close(found, wanted, tolerance):
    wanted = np.asarray(wanted)
    error = np.abs(found.detach().double().numpy() - wanted).max()
    assert error <= tolerance * max(np.abs(wanted).max(), 1e-30), error / np.abs(wanted).max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", CASES)
def test_outputs_and_all_gradients_of_the_reference(name, dtype, reference):
    case = next(case for case in json.loads(str(reference["cases"])) if case["name"] == name)
    inputs = {
        key: torch.tensor(reference[f"{name}_{key}"].astype(np.float64)).to(dtype).requires_grad_()
        for key in GRADIENTS
        if f"{name}_{key}" in reference.files
    }
    output = deform(
        inputs["x"],
        inputs["offset"],
        inputs["weight"],
        inputs.get("bias"),
        inputs.get("mask"),
        case["stride"],
        case["padding"],
        case["dilation"],
    )
    incoming = torch.tensor(reference[f"{name}_grad_output"].astype(np.float64)).to(dtype)
    gradients = torch.autograd.grad(output, list(inputs.values()), incoming)
    # The stored arrays are float32, so that float64 cannot be seen to be better than that.
    tolerance = 2e-6 if dtype == torch.float32 else 1e-7
    close(output, reference[f"{name}_output"], tolerance)
    for key, gradient in zip(inputs, gradients, strict=True):
        close(gradient, reference[f"{name}_grad_{key}"], tolerance)


@pytest.mark.parametrize("case", ["kink", "kink_zero"])
def test_derivative_at_whole_numbers_is_that_of_the_cell_that_floor_opens(case, reference):
    x, weight, incoming, offset = (
        torch.tensor(reference[f"kink_{key}"]) for key in ("x", "weight", "grad_output", "offset")
    )
    offset = (torch.zeros_like(offset) if case == "kink_zero" else offset).requires_grad_()
    output = deform(x, offset, weight, padding=1)
    close(output, reference[f"{case}_output"], 1e-5)
    (gradient,) = torch.autograd.grad(output, offset, incoming)
    valid = torch.tensor(reference[f"{case}_valid"])
    close(gradient * valid, reference[f"{case}_grad_offset"] * valid.numpy(), 1e-5)


@pytest.mark.parametrize("case", ["n5g1", "n15g2"])
def test_any_number_of_offsets_without_taps(case, reference):
    tensors = {
        key: torch.tensor(reference[f"free_{case}_{key}"].astype(np.float32)).requires_grad_()
        for key in ("x", "flow", "mask", "weight_1x1", "bias")
    }
    batch, groups, count, _, height, width = tensors["flow"].shape
    weight = tensors["weight_1x1"].view(-1, count, tensors["x"].shape[1]).transpose(1, 2)
    output = deform(
        tensors["x"],
        tensors["flow"].flip(3).reshape(batch, groups * count * 2, height, width),
        weight,
        tensors["bias"],
        tensors["mask"].flatten(1, 2),
    )
    incoming = torch.tensor(reference[f"free_{case}_grad_output"].astype(np.float32))
    gradients = torch.autograd.grad(output, list(tensors.values()), incoming)
    close(output, reference[f"free_{case}_output"], 2e-6)
    for key, gradient in zip(tensors, gradients, strict=True):
        close(gradient, reference[f"free_{case}_grad_{key}"], 2e-6)


def test_border_rule_of_the_kernel_of_2017(reference):
    x, offset, weight = (torch.tensor(reference[f"legacy_{key}"]) for key in ("x", "offset", "weight"))
    close(deform(x, offset, weight, padding=1, border="legacy"), reference["legacy_output"], 1e-5)


@pytest.mark.parametrize("name", ["g1k1", "g1k3", "g2k1", "g2k3", "g8k1", "g8k3"])
def test_outputs_with_and_without_masks_on_a_map_of_two_images(name, shared):
    reference = np.load(shared / "parity" / "dcn-decomposition.npz")
    x, offset, weight, bias, mask = (
        torch.tensor(reference[key]) for key in ("x", *(f"{name}_{k}" for k in ("offset", "weight", "bias", "mask")))
    )
    padding = weight.shape[2] // 2
    close(deform(x, offset, weight, bias, mask, padding=padding), reference[f"{name}_output"], 1e-6)
    close(deform(x, offset, weight, padding=padding), reference[f"{name}_output_plain"], 1e-6)


def brute_force(x, offset, weight, mask, stride, padding, dilation, border):
    """Loops over every output value."""
    batch, channels, height, width = x.shape
    outputs, _, tall, wide = weight.shape
    groups = offset.shape[1] // (2 * tall * wide)
    out = np.zeros((batch, outputs, *offset.shape[2:]))
    for b, i, j in np.ndindex(batch, *offset.shape[2:]):
        for g, n in np.ndindex(groups, tall * wide):
            channel = g * tall * wide + n
            y = i * stride[0] - padding[0] + n // wide * dilation[0] + float(offset[b, 2 * channel, i, j])
            x_ = j * stride[1] - padding[1] + n % wide * dilation[1] + float(offset[b, 2 * channel + 1, i, j])
            if border == "legacy":
                if not (0 <= y < height and 0 <= x_ < width):
                    continue
                y, x_ = min(y, height - 1), min(x_, width - 1)
            mine = slice(g * channels // groups, (g + 1) * channels // groups)
            value = sample(x[:, mine], b, y, x_) * mask[b, channel, i, j]
            out[b, :, i, j] += weight[:, mine, n // wide, n % wide] @ value
    return out


@pytest.mark.parametrize("border", ["modern", "legacy"])
@pytest.mark.parametrize("kernel", [(1, 3), (3, 2), (2, 2)])
def test_kernels_that_are_no_squares_and_unequal_strides(kernel, border):
    generator = np.random.default_rng(0)
    x = generator.standard_normal((2, 6, 7, 5))
    weight = generator.standard_normal((4, 6, *kernel))
    stride, padding, dilation = (2, 1), (1, 2), (1, 3)
    size = [
        (side + 2 * pad - spread * (taps - 1) - 1) // step + 1
        for side, taps, step, pad, spread in zip((7, 5), kernel, stride, padding, dilation, strict=True)
    ]
    taps = kernel[0] * kernel[1]
    offset = generator.uniform(-4, 4, (2, 2 * 3 * taps, *size))
    mask = generator.uniform(0, 1, (2, 3 * taps, *size))
    wanted = brute_force(x, offset, weight, mask, stride, padding, dilation, border)
    found = deform(
        *map(torch.tensor, (x, offset, weight)), None, torch.tensor(mask), stride, padding, dilation, border=border
    )
    close(found, wanted, 1e-12)


def test_without_offsets_it_is_a_convolution():
    x, weight, bias = torch.rand(2, 4, 9, 8), torch.rand(3, 4, 3, 3), torch.rand(3)
    found = deform(x, torch.zeros(2, 18, 5, 4), weight, bias, stride=2, padding=1)
    assert torch.allclose(found, F.conv2d(x, weight, bias, stride=2, padding=1), atol=1e-5)


@pytest.mark.parametrize("border", ["modern", "legacy"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 3e9, -3e9, 1e30])
def test_places_that_are_nowhere_read_nothing_and_have_no_gradient(value, border):
    x = torch.rand(1, 2, 4, 5).requires_grad_()
    offset = torch.full((1, 2, 4, 5), value).requires_grad_()
    output = deform(x, offset, torch.ones(1, 2, 1, 1), border=border)
    assert (output == 0).all()
    gradients = torch.autograd.grad(output.sum(), (x, offset))
    assert all((gradient == 0).all() for gradient in gradients)


@pytest.mark.parametrize("border", ["modern", "legacy"])
def test_derivatives_agree_with_differences(border):
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(1, 4, 5, 4, dtype=torch.float64, generator=generator).requires_grad_()
    # A third of a pixel away from whole numbers, so that no difference steps over a kink.
    offset = (
        torch.randint(-3, 3, (1, 16, 4, 3), generator=generator)
        + torch.tensor([1 / 3, 0.6], dtype=torch.float64)[torch.randint(2, (1, 16, 4, 3), generator=generator)]
    )
    weight = torch.rand(2, 4, 2, 2, dtype=torch.float64, generator=generator).requires_grad_()
    mask = torch.rand(1, 8, 4, 3, dtype=torch.float64, generator=generator).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda *tensors: deform(tensors[0], tensors[1], tensors[2], None, tensors[3], border=border),
        (x, offset.requires_grad_(), weight, mask),
    )


def test_half_precision_is_read_in_full_precision():
    x, offset, weight = torch.rand(1, 4, 6, 300), torch.rand(1, 2, 6, 300) * 4, torch.rand(2, 4, 1, 1)
    found = deform(x.bfloat16(), offset, weight)
    assert found.dtype == torch.bfloat16
    assert torch.allclose(found.float(), deform(x.bfloat16().float(), offset, weight), rtol=1e-2)


def test_empty_batch():
    assert deform(torch.rand(0, 4, 6, 5), torch.rand(0, 18, 6, 5), torch.rand(2, 4, 3, 3), padding=1).shape == (
        0,
        2,
        6,
        5,
    )


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ((torch.rand(1, 4, 6, 5), torch.rand(1, 17, 6, 5), torch.rand(2, 4, 3, 3)), {"padding": 1}, "offset must be"),
        ((torch.rand(1, 4, 6, 5), torch.rand(1, 18, 6, 5), torch.rand(2, 4, 3, 3)), {}, "offset must be"),
        ((torch.rand(1, 4, 6, 5), torch.rand(1, 6, 6, 5), torch.rand(2, 4, 1, 1)), {}, "offset must be"),
        ((torch.rand(1, 4, 6, 5), torch.rand(1, 2, 6, 5), torch.rand(2, 3, 1, 1)), {}, "weight"),
        ((torch.rand(1, 4, 6, 5), torch.rand(1, 2, 6, 5), torch.rand(2, 4)), {}, "weight must be"),
        ((torch.rand(1, 4, 6, 5), torch.rand(1, 2, 6, 5), torch.rand(2, 4, 1)), {"padding": 1}, "no taps"),
        ((torch.rand(1, 4, 6, 5), torch.rand(1, 2, 6, 5), torch.rand(2, 4, 1)), {"border": "zeros"}, "border must be"),
        (
            (torch.rand(1, 4, 6, 5), torch.rand(1, 2, 6, 5), torch.rand(2, 4, 1)),
            {"mask": torch.rand(1, 2, 6, 5)},
            "mask",
        ),
        ((torch.rand(1, 4, 6, 5), torch.rand(1, 2, 6, 5), torch.rand(2, 4, 1)), {"bias": torch.rand(3)}, "bias"),
        ((torch.rand(1, 4, 6, 5), torch.rand(1, 2, 6, 5), torch.rand(2, 4, 1, 1)), {"stride": 0}, "stride"),
        ((torch.rand(1, 4, 6, 5), torch.ones(1, 2, 6, 5).long(), torch.rand(2, 4, 1)), {}, "floating point"),
    ],
)
def test_what_does_not_fit_is_named(arguments, options, words):
    with pytest.raises(InputError, match=words):
        deform(*arguments, **options)
