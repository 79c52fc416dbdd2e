"""One torch.library for all registered operators, and the lines that each of them repeats."""

from collections.abc import Callable
from typing import Any

import torch

LIBRARY = torch.library.Library("flowzoo", "DEF")


def register(
    name: str, schema: str, portable: Callable[..., Any], fake: Callable[..., Any], cpu: Callable[..., Any]
) -> Any:
    """Define `flowzoo::name`: `portable` everywhere, `cpu` on the CPU, `fake` for shapes, float32 under autocast.

    Returns the operator's overload, which is what the public functions call.
    """
    LIBRARY.define(f"{name}{schema}", tags=(torch.Tag.pt2_compliant_tag,))
    LIBRARY.impl(name, portable, "CompositeExplicitAutograd")
    LIBRARY.impl(name, cpu, "CPU")
    qualified = f"flowzoo::{name}"
    torch.library.register_fake(qualified, fake, lib=LIBRARY)
    for device in ("cpu", "cuda"):
        torch.library.register_autocast(qualified, device, torch.float32, lib=LIBRARY)
    return getattr(torch.ops.flowzoo, name).default
