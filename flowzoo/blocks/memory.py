"""How much memory a network may take, for parts that can trade memory for time."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

_BYTES: ContextVar[float | None] = ContextVar("memory_bytes", default=None)


@contextmanager
def memory_limit(number: float | None) -> Iterator[None]:
    """Within this block, activations of one batch should take no more than `number` bytes; None = nobody has said."""
    token = _BYTES.set(number)
    try:
        yield
    finally:
        _BYTES.reset(token)


def memory_beside(taken: float, usual: float) -> float:
    """Bytes within the limit when `taken` are spoken for, at least 0; `usual` where nobody has set a limit."""
    limit = None if torch.compiler.is_compiling() else _BYTES.get()
    return usual if limit is None else max(0.0, limit - taken)
