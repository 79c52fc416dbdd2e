"""Gradients past steps that have none, such as rounding."""

from torch import Tensor


def straight_through(value: Tensor, instead: Tensor) -> Tensor:
    """`value`, with the gradient of `instead`: the straight-through estimator (Bengio, Léonard, Courville 2013).

    Args:
        value: what a step without derivative makes, such as rounded numbers.
        instead: what a differentiable step makes that is close to it, of the same shape; finite.

    Returns:
        Equal to `value`.
    """
    if not instead.requires_grad:
        return value
    return value.detach() + (instead - instead.detach())
