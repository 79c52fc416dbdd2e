"""One torch.library for all registered operators, and the list of them, which tests and clocks read."""

from collections.abc import Callable
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
    call: Any  # the overload torch.ops.flowzoo.NAME.default


REGISTERED: dict[str, Registered] = {}
"""Every operator by its name."""


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
) -> Any:
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

    Returns:
        The operator's overload, which is what the public functions call.
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
    REGISTERED[name] = Registered(name, portable, cpu, cuda, backward is not None, autocast, call)
    return call


def _not_differentiable(name: str, ctx: Any, *gradients: Any) -> None:
    raise RuntimeError(f"{name} is not differentiable: call it under torch.no_grad() or detach its inputs")
