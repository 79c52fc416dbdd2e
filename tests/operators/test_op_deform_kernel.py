"""The native deformable convolution: against its definition in float64 at awkward shapes, its memory, its threads."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from flowzoo.operators import native, native_call
from flowzoo.operators.deform import cpu, definition

pytestmark = pytest.mark.skipif(native.library() is None, reason="no C++ compiler")

# batch, channels, groups, outputs, taps (y, x), stride, padding, step, height, width: groups of 1 to 70 channels, which
# take one to three slices; results whose rows are whole runs of 16, and others; outputs of less and more than vectors.
SHAPES = [
    (2, 6, 2, 5, (3, 3), (1, 1), (1, 1), (1, 1), 7, 9),
    (1, 8, 1, 64, (1, 1), (1, 1), (0, 0), (1, 1), 5, 16),
    (1, 32, 2, 17, (3, 3), (1, 1), (1, 1), (1, 1), 9, 32),
    (1, 33, 1, 70, (2, 2), (1, 2), (0, 1), (2, 1), 6, 21),
    (1, 140, 2, 3, (1, 3), (2, 1), (1, 1), (1, 2), 11, 18),
    (2, 5, 5, 1, (1, 5), (1, 1), (0, 0), (0, 0), 1, 70),
    (1, 64, 1, 8, (3, 1), (1, 1), (1, 0), (1, 1), 40, 3),
]
LARGE = (2, 16, 2, 9, (3, 3), (1, 1), (1, 1), (1, 1), 40, 48)


def problem(shape: tuple, seed: int = 0) -> tuple[Tensor, list[Tensor], tuple]:
    """Gradient of the result, (features, offset, weight, bias, mask), and the numbers that follow them."""
    batch, channels, groups, outputs, taps, stride, padding, step, height, width = shape
    generator = torch.Generator().manual_seed(seed)
    count = taps[0] * taps[1]
    rows, columns = (
        (side + 2 * pad - spread * (n - 1) - 1) // jump + 1
        for side, n, jump, pad, spread in zip((height, width), taps, stride, padding, step, strict=True)
    )

    def random(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator)

    offset = 3 * random(batch, 2 * groups * count, rows, columns)
    flat = offset.view(-1)
    for every, value in ((7, 0.0), (11, -1.0), (13, 2.0), (17, 3e9), (19, float("nan")), (23, float("-inf"))):
        flat[every - 1 :: every] = value
    tensors = [random(batch, channels, height, width), offset, random(outputs, channels, count), random(outputs)]
    tensors.append(torch.rand(batch, groups * count, rows, columns, generator=generator))
    return random(batch, outputs, rows, columns), tensors, (taps[1], stride, padding, step)


def agree(found: Tensor, wanted: Tensor) -> None:
    scale = float(wanted.abs().max())
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=3e-6 * scale)


@pytest.fixture(autouse=True)
def _kernel_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """float32 never gets to the definition."""
    for name in ("deform", "deform_backward"):
        original = getattr(definition, name)

        def guarded(first: Tensor, *rest: object, original=original) -> object:  # type: ignore[no-untyped-def]
            assert first.dtype == torch.float64, "the kernel must do it"
            return original(first, *rest)

        monkeypatch.setattr(definition, name, guarded)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("legacy", [False, True], ids=["modern", "legacy"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_forward_and_backward_are_the_definition(shape: tuple, legacy: bool, layout: torch.memory_format) -> None:
    gradient, tensors, numbers = problem(shape)
    exact = [tensor.double() for tensor in tensors]
    tensors[0] = tensors[0].contiguous(memory_format=layout)
    agree(cpu.deform(*tensors, *numbers, legacy), definition.deform(*exact, *numbers, legacy))
    del tensors[3], exact[3]
    found = cpu.deform_backward(gradient, *tensors, *numbers, legacy)
    wanted = definition.deform_backward(gradient.double(), *exact, *numbers, legacy)
    for one, other in zip(found, wanted, strict=True):
        agree(one, other)


@pytest.mark.parametrize("legacy", [False, True], ids=["modern", "legacy"])
def test_without_mask_and_bias(legacy: bool) -> None:
    gradient, tensors, numbers = problem(SHAPES[0])
    inputs, exact = tensors[:3], [tensor.double() for tensor in tensors[:3]]
    agree(cpu.deform(*inputs, None, None, *numbers, legacy), definition.deform(*exact, None, None, *numbers, legacy))
    found = cpu.deform_backward(gradient, *inputs, None, *numbers, legacy)
    wanted = definition.deform_backward(gradient.double(), *exact, None, *numbers, legacy)
    for one, other in zip(found[:3], wanted[:3], strict=True):
        agree(one, other)
    assert found[3].shape == wanted[3].shape == (0,)


@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[4], LARGE], ids=str)
def test_number_of_threads_does_not_change_a_bit(shape: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    gradient, tensors, numbers = problem(shape)
    results = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(native_call, "threads_for", lambda flops, threads=threads: threads)
        forward = cpu.deform(*tensors, *numbers, False)
        results.append((forward, *cpu.deform_backward(gradient, *tensors[:3], tensors[4], *numbers, False)))
    for other in results[1:]:
        assert all(torch.equal(*pair) for pair in zip(results[0], other, strict=True))


def test_a_place_that_reads_nothing_is_not_touched_by_what_is_no_number() -> None:
    """Features that are not finite stay where they are read."""
    _, tensors, numbers = problem(SHAPES[1])
    features, offset, weight = tensors[:3]
    features[...] = float("nan")
    offset[...] = 1e10
    assert (cpu.deform(features, offset, weight, None, None, *numbers, False) == 0).all()


PROGRAM = """
import resource, torch
from flowzoo.operators import deform
torch.set_num_threads(2)
features, weight = torch.randn(1, 64, 180, 320), torch.randn(64, 64, 3, 3)
offset, mask = torch.randn(1, 144, 180, 320), torch.rand(1, 72, 180, 320)
deform(features[..., :20, :20], offset[..., :20, :20], weight, None, mask[..., :20, :20], padding=1)
spare = torch.ones(1, 64, 180, 320)  # as large as the result
del spare
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
deform(features, offset, weight, None, mask, padding=1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted in other units there")
def test_extra_memory_at_the_size_of_a_video_frame() -> None:
    """No map a tap is made: 133 MB of them would be."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=True)
    assert int(done.stdout) < 32_000
