"""One torch.library for all registered operators, and the list of them, which tests and clocks read.

A program that leaves the zoo (an ONNX file, a saved torch.export program) cannot call them. While one is traced each
operator is its `exported` form: plain PyTorch without loops over displacements or chunks, so that the graph is small
and serves other sizes than the one it was traced with.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from flowzoo.operators import launch

LIBRARY = torch.library.Library("flowzoo", "DEF")


@dataclass(frozen=True)
class Registered:
    """An operator's versions. `portable` defines it; those that are None are the portable one."""

    name: str
    portable: Callable[..., Any]
    cpu: Callable[..., Any] | None
    cuda: Callable[..., Any] | None
    differentiable: bool
    autocast: bool
    exported: Callable[..., Any]
    call: Any  # the overload torch.ops.flowzoo.NAME.default


REGISTERED: dict[str, Registered] = {}
"""Every operator by its name."""

_in_plain_torch = False


@contextmanager
def plain_operators() -> Iterator[None]:
    """Within this block, and in every thread, operators are their exported forms: for tracing a program."""
    global _in_plain_torch
    before, _in_plain_torch = _in_plain_torch, True
    try:
        yield
    finally:
        _in_plain_torch = before


def in_plain_torch() -> bool:
    """Whether a program is traced now, in `plain_operators`."""
    return _in_plain_torch


def is_traced() -> bool:
    """Whether torch records a program now, to compile or to export it."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]


def decompositions() -> dict[Any, Callable[..., Any]]:
    """Each operator's exported form, for `torch.export.ExportedProgram.run_decompositions`."""
    return {entry.call: entry.exported for entry in REGISTERED.values()}


def register(
    name: str,
    schema: str,
    portable: Callable[..., Any],
    fake: Callable[..., Any],
    *,
    cpu: Callable[..., Any] | None = None,
    cuda: Callable[..., Any] | None = None,
    save: Callable[..., None] | None = None,
    backward: Callable[..., Any] | None = None,
    autocast: bool = True,
    exported: Callable[..., Any] | None = None,
) -> Callable[..., Any]:
    """Define `flowzoo::name`: `cpu` and `cuda` there, `portable` elsewhere and where CUDA has no CuPy or no kernel.

    Args:
        name: of the operator.
        schema: its arguments and results, in torch's notation.
        portable: the definition, on any device.
        fake: gives the results' shapes.
        cpu, cuda: the faster versions, where there are any.
        save: keeps in `ctx` what `backward` needs, from the inputs and the output.
        backward: gradients of the inputs from `ctx` and those of the results; None = not differentiable.
        autocast: half-precision inputs become float32 under autocast.
        exported: stands for it in programs that leave the zoo; None = `portable`.

    Returns:
        What the public functions call.
    """
    LIBRARY.define(f"{name}{schema}", tags=(torch.Tag.pt2_compliant_tag,))
    LIBRARY.impl(name, portable, "CompositeExplicitAutograd")
    if cpu is not None:
        LIBRARY.impl(name, cpu, "CPU")
    if cuda is not None:
        LIBRARY.impl(name, lambda *inputs: (cuda if launch.available() else portable)(*inputs), "CUDA")
    qualified = f"flowzoo::{name}"
    torch.library.register_fake(qualified, fake, lib=LIBRARY)
    derivative = backward or partial(_not_differentiable, qualified)
    torch.library.register_autograd(qualified, derivative, setup_context=save, lib=LIBRARY)
    for device in ("cpu", "cuda") if autocast else ():
        torch.library.register_autocast(qualified, device, torch.float32, lib=LIBRARY)
    call = getattr(torch.ops.flowzoo, name).default
    plain = exported or portable
    REGISTERED[name] = Registered(name, portable, cpu, cuda, backward is not None, autocast, plain, call)

    def run(*inputs: Any) -> Any:
        return (plain if _in_plain_torch or _for_onnx() else call)(*inputs)

    return run


def _for_onnx() -> bool:
    """Whether somebody's own torch.onnx.export traces this. Asked only where a trace is on: it takes a microsecond."""
    if is_traced():
        return bool(torch.onnx.is_in_onnx_export())
    return False


def _not_differentiable(name: str, ctx: Any, *gradients: Any) -> None:
    raise RuntimeError(f"{name} is not differentiable: call it under torch.no_grad() or detach its inputs")
