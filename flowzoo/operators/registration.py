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
    cuda: Callable[..., Any],
) -> Any:
    """Define `flowzoo::name`: `cpu` and `cuda` there, `portable` elsewhere and where CUDA has no CuPy.

    `fake` gives the shapes. Under autocast half-precision inputs become float32.

    Returns the operator's overload, which is what the public functions call.
    """
    LIBRARY.define(f"{name}{schema}", tags=(torch.Tag.pt2_compliant_tag,))
    LIBRARY.impl(name, portable, "CompositeExplicitAutograd")
    LIBRARY.impl(name, cpu, "CPU")
    LIBRARY.impl(name, lambda *inputs: (cuda if launch.available() else portable)(*inputs), "CUDA")
    qualified = f"flowzoo::{name}"
    torch.library.register_fake(qualified, fake, lib=LIBRARY)
    for device in ("cpu", "cuda"):
        torch.library.register_autocast(qualified, device, torch.float32, lib=LIBRARY)
    return getattr(torch.ops.flowzoo, name).default
