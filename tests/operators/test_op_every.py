"""What holds for every registered operator: the registry lists them, operator_samples.py says how they are called."""

import pytest
import torch
from operator_samples import FIRST_DERIVATIVES, SAMPLES, SUMS_BY_THREAD, Arguments, Sizes
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.library import opcheck

from flowzoo import operators  # noqa: F401 - registers them
from flowzoo.errors import InputError
from flowzoo.operators import native, native_call
from flowzoo.operators.registration import REGISTERED

NAMES = sorted(REGISTERED)
NATIVE = [name for name in NAMES if REGISTERED[name].cpu is not None]
SIZES = [(2, 5, 7), (1, 1, 1), (3, 1, 9), (1, 8, 1), (1, 20, 35)]


def test_every_operator_has_samples() -> None:
    assert set(SAMPLES) == set(REGISTERED)


def detached(arguments: Arguments) -> Arguments:
    return tuple(argument.detach() if isinstance(argument, Tensor) else argument for argument in arguments)


def tensors_of(arguments: Arguments) -> list[Tensor]:
    return [argument for argument in arguments if isinstance(argument, Tensor)]


def results_of(output: object) -> tuple[Tensor, ...]:
    return output if isinstance(output, tuple) else (output,)  # type: ignore[return-value]


def assert_alike(found: object, wanted: object, tolerance: float) -> None:
    """Relative to the largest value."""
    scale = max((float(one.double().abs().max()) for one in results_of(wanted) if one.numel()), default=1.0)
    for one, other in zip(results_of(found), results_of(wanted), strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(one.double(), other.double(), rtol=0, atol=tolerance * max(scale, 1e-30))


@pytest.mark.parametrize("size", [(1, 4, 5), (0, 4, 5), (2, 1, 1)])
@pytest.mark.parametrize("name", NAMES)
def test_opcheck(name: str, size: tuple[int, int, int]) -> None:
    for index, arguments in enumerate(SAMPLES[name](Sizes(*size))):
        if name.endswith("_backward") and (index or size[0] != 1):
            # Tracing its own backward takes many seconds: once is enough.
            arguments = detached(arguments)
        opcheck(REGISTERED[name].call, arguments)


@pytest.mark.parametrize("name", NAMES)
def test_first_and_second_derivatives(name: str) -> None:
    registered = REGISTERED[name]
    for arguments in SAMPLES[name](Sizes(1, 3, 4, torch.float64)):
        tensors = tensors_of(arguments)
        numbers = arguments[len(tensors) :]

        def call(*inputs: Tensor, numbers: Arguments = numbers) -> object:
            return registered.call(*inputs, *numbers)

        if not registered.differentiable:
            with pytest.raises(RuntimeError, match=f"flowzoo::{name} is not differentiable"):
                results_of(call(*(tensor.requires_grad_() for tensor in tensors)))[0].sum().backward()
            continue
        assert gradcheck(call, tensors)
        if name not in FIRST_DERIVATIVES:  # whose gradcheck above is of second order
            assert gradgradcheck(call, tensors, fast_mode=True)


@pytest.fixture
def kernel_calls(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What the native kernels answered, in order."""
    if native.library() is None:
        pytest.skip("no C++ compiler to build the CPU kernels with")
    answers, run = [], native_call.run

    def counted(*arguments: object, **options: object) -> bool:
        answers.append(run(*arguments, **options))  # type: ignore[arg-type]
        return answers[-1]

    monkeypatch.setattr(native_call, "run", counted)
    return answers


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", NATIVE)
def test_the_kernel_is_the_definition(name: str, size: tuple[int, int, int], kernel_calls: list[bool]) -> None:
    for arguments in SAMPLES[name](Sizes(*size)):
        arguments = detached(arguments)
        exact = tuple(a.double() if isinstance(a, Tensor) else a for a in arguments)
        found, wanted = REGISTERED[name].call(*arguments), REGISTERED[name].portable(*exact)
        assert_alike(found, wanted, 2e-5)
    assert kernel_calls
    assert all(kernel_calls)


def on_cuda(arguments: Arguments) -> Arguments:
    """On the GPU, in memory of their own; whoever wants gradients gets them there."""
    return tuple(
        argument.detach().to("cuda").requires_grad_(argument.requires_grad)
        if isinstance(argument, Tensor)
        else argument
        for argument in arguments
    )


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", NAMES)
def test_on_a_gpu_it_is_the_definition(name: str, size: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Results, and where there is a derivative, gradients; called as networks call it."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    for arguments in SAMPLES[name](Sizes(*size)):
        exact = tuple(a.detach().double() if isinstance(a, Tensor) else a for a in arguments)
        given, wanted = on_cuda(arguments), REGISTERED[name].portable(*exact)
        found = results_of(REGISTERED[name].call(*given))
        assert_alike(tuple(one.detach().cpu() for one in found), wanted, 2e-5)
        if not REGISTERED[name].differentiable:
            continue
        exact = tuple(
            e.requires_grad_(a.requires_grad) if isinstance(a, Tensor) else e
            for a, e in zip(arguments, exact, strict=True)
        )
        incoming = [torch.randn(one.shape, dtype=torch.float64) for one in found]
        inputs = [[a for a in tensors_of(both) if a.requires_grad] for both in (given, exact)]
        gradients = torch.autograd.grad(found, inputs[0], [one.float().cuda() for one in incoming])
        results = results_of(REGISTERED[name].call(*exact))
        for one, other in zip(gradients, torch.autograd.grad(results, inputs[1], incoming), strict=True):
            torch.testing.assert_close(
                one.double().cpu(), other, rtol=0, atol=5e-5 * max(1.0, float(other.abs().max()))
            )


@pytest.mark.parametrize("name", [name for name in NATIVE if name not in SUMS_BY_THREAD])
def test_number_of_threads_does_not_change_a_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments in SAMPLES[name](Sizes(2, 60, 70)):
        arguments, results = detached(arguments), []
        for threads in (1, 2, 5):
            monkeypatch.setattr(native_call, "threads_for", lambda flops, threads=threads: threads)
            results.append(results_of(REGISTERED[name].call(*arguments)))
        for other in results[1:]:
            assert all(torch.equal(*pair) for pair in zip(results[0], other, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_any_memory_order(name: str) -> None:
    """Strided and turned views give what contiguous copies give, and stay as they are."""
    for arguments in SAMPLES[name](Sizes(2, 5, 7)):
        plain = detached(arguments)
        wanted = REGISTERED[name].call(*plain)
        for change in (_strided, _turned):
            views = tuple(change(a) if isinstance(a, Tensor) else a for a in plain)
            assert not all(view.is_contiguous() for view in tensors_of(views))
            assert_alike(REGISTERED[name].call(*views), wanted, 1e-6)
            assert all(torch.equal(*pair) for pair in zip(tensors_of(views), tensors_of(plain), strict=True))


def _strided(tensor: Tensor) -> Tensor:
    wide = tensor.new_full((*tensor.shape[:-1], 2 * tensor.shape[-1]), torch.nan)
    wide[..., ::2] = tensor
    return wide[..., ::2]


def _turned(tensor: Tensor) -> Tensor:
    return tensor.movedim(1, -1).contiguous().movedim(-1, 1) if tensor.dim() > 1 else _strided(tensor)


@pytest.mark.parametrize("name", NAMES)
def test_float64_is_computed_as_such(name: str) -> None:
    """All tensors, or one of them, which no kernel may take for float32."""
    for arguments in SAMPLES[name](Sizes(2, 5, 7)):
        arguments = detached(arguments)
        wanted = REGISTERED[name].call(*arguments)
        exact = tuple(a.double() if isinstance(a, Tensor) else a for a in arguments)
        found = results_of(REGISTERED[name].call(*exact))
        assert all(one.dtype == torch.float64 for one in found)
        assert_alike(found, wanted, 2e-5)
        for index in range(len(tensors_of(arguments))):
            mixed = (*arguments[:index], exact[index], *arguments[index + 1 :])
            assert_alike(REGISTERED[name].call(*mixed), wanted, 2e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", NAMES)
def test_half_precision_is_rounded_once(name: str, dtype: torch.dtype) -> None:
    """Computed in float32: the result is that of the widened inputs, rounded to the inputs' type."""
    for arguments in SAMPLES[name](Sizes(2, 5, 7)):
        halves = tuple(a.to(dtype) if isinstance(a, Tensor) else a for a in detached(arguments))
        wide = tuple(a.float() if isinstance(a, Tensor) else a for a in halves)
        found = results_of(REGISTERED[name].call(*halves))
        assert all(one.dtype == dtype for one in found)
        assert_alike(found, REGISTERED[name].call(*wide), 1.1 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("name", NAMES)
def test_autocast_computes_in_float32(name: str) -> None:
    for arguments in SAMPLES[name](Sizes(1, 4, 5)):
        plain = detached(arguments)
        wanted = REGISTERED[name].call(*plain)
        with torch.autocast("cpu", torch.bfloat16):
            assert_alike(REGISTERED[name].call(*plain), wanted, 1e-7)
            if REGISTERED[name].autocast:
                halves = tuple(a.bfloat16() if isinstance(a, Tensor) else a for a in plain)
                assert all(one.dtype == torch.float32 for one in results_of(REGISTERED[name].call(*halves)))


def _misfits(tensor: Tensor) -> list[Tensor]:
    """The same numbers in other shapes."""
    cut = [tensor.narrow(d, 0, size - 1) for d, size in enumerate(tensor.shape) if size > 1]
    return [*cut, tensor[0], tensor.flatten(), tensor[:0], tensor.repeat_interleave(2, dim=-1)]


@pytest.mark.parametrize("name", NAMES)
def test_shapes_that_do_not_fit_are_refused_or_as_defined(name: str) -> None:
    """Whoever calls the registered operator itself gets what its definition says, never what lies behind a tensor."""
    for arguments in SAMPLES[name](Sizes(2, 5, 7)):
        arguments = detached(arguments)
        for index, tensor in enumerate(tensors_of(arguments)):
            for misfit in _misfits(tensor):
                changed = (*arguments[:index], misfit.clone(), *arguments[index + 1 :])
                try:
                    found = REGISTERED[name].call(*changed)
                except (InputError, RuntimeError, IndexError, ValueError):
                    continue
                assert_alike(found, REGISTERED[name].portable(*changed), 2e-5)
