"""One torch.library for all registered operators, and the lines that each of them repeats."""

from collections.abc import Callable
from typing import Any

import torch

from flowzoo.operators import launch

LIBRARY = torch.library.Library("flowzoo", "DEF")


def register(
    name: str,
    schema: str,
    portable: Callable[..., Any],
    fake: Callable[..., Any],
    cpu: Callable[..., Any],
    cuda: Callable[..., Any] | None = None,
    *,
    autocast: bool = True,
) -> Any:
    """Define `flowzoo::name`: `cpu` and `cuda` there, `portable` elsewhere and where CUDA has no CuPy or no kernel.

    `fake` gives the shapes. With `autocast` half-precision inputs become float32 under it.

    Returns the operator's overload, which is what the public functions call.
    """
    LIBRARY.define(f"{name}{schema}", tags=(torch.Tag.pt2_compliant_tag,))
    LIBRARY.impl(name, portable, "CompositeExplicitAutograd")
    LIBRARY.impl(name, cpu, "CPU")
    if cuda is not None:
        LIBRARY.impl(name, lambda *inputs: (cuda if launch.available() else portable)(*inputs), "CUDA")
    qualified = f"flowzoo::{name}"
    torch.library.register_fake(qualified, fake, lib=LIBRARY)
    for device in ("cpu", "cuda") if autocast else ():
        torch.library.register_autocast(qualified, device, torch.float32, lib=LIBRARY)
    return getattr(torch.ops.flowzoo, name).default
