"""Flow after flow: from the first image of several to the last."""

from collections.abc import Iterable

import torch
from torch import Tensor

from flowzoo.errors import InputError
from flowzoo.flow.kinds import Kind, Maps, flow_in
from flowzoo.flow.sampling import flow_at, places


def compose(first: Maps, second: Maps) -> Maps:
    """The flow that first `first`, then `second` leads along: first(p) + second(p + first(p)).

    Args:
        first: flow from image A to image B (shapes: see `flowzoo.flow`).
        second: flow from B to C, on B's grid, whose size may be another one.

    Returns:
        Flow from A to C on A's grid; NaN where it is unknown: where `first` leaves B, or either flow is unknown.
        Bilinear between pixels, so exact for affine flow. Differentiable.

    Raises:
        InputError: a shape that flow does not have.
    """
    one, kind = flow_in("first", first)
    two, _ = flow_in("second", second)
    return kind.back(_composed(one, two))  # type: ignore[no-any-return]


def accumulate(flows: Iterable[Maps]) -> Maps:
    """The flow along a chain of images: from the first image of the first flow to the second image of the last.

    The chain is read one flow after the other, in constant memory, and summed in float64. For the flow from the last
    image to the first give the backward flows, last one first.

    Args:
        flows: of neighbouring images, at least one.

    Returns:
        Flow on the first image's grid; NaN for points that leave the image on their way, or meet unknown flow.

    Raises:
        InputError: there is no flow, or a shape that flow does not have.
    """
    total: Tensor | None = None
    kind: Kind | None = None
    for index, flow in enumerate(flows):
        step, found = flow_in(f"flow {index}", flow)
        kind = kind or found
        total = step.double() if total is None else _composed(total, step.double())
    if total is None or kind is None:
        raise InputError("there is no flow to accumulate: give at least one")
    return kind.back(total)  # type: ignore[no-any-return]


def _composed(first: Tensor, second: Tensor) -> Tensor:
    if first.shape[0] != second.shape[0]:
        raise InputError(f"flows of {first.shape[0]} and {second.shape[0]} images cannot follow each other")
    dtype = torch.promote_types(first.dtype, second.dtype)
    first = first.to(dtype)
    return first + flow_at(second.to(dtype), *places(first))
