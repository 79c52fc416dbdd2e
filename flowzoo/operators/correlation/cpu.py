"""`correlate`, `gather` and `scatter` on the CPU (kernels/correlation.cpp), or portable where there is no kernel."""

from torch import Tensor

from flowzoo.operators import native_call
from flowzoo.operators.correlation import definition
from flowzoo.operators.native_call import reads, suits, writes

ALL_TASKS = -1


def correlate(first: Tensor, second: Tensor, radius: int, dilation: int, scale: float) -> Tensor:
    """See definition.correlate."""
    if suits(first, second):
        batch, _, height, width = shape = first.shape
        displacements = (2 * radius + 1) ** 2
        volume = writes(batch, displacements, height, width)
        memory = reads("first", first, shape), reads("second", second, shape), volume
        numbers = *shape, radius, definition.effective_dilation(first, dilation), float(scale)
        threads = native_call.threads_for(2 * first.numel() * displacements)
        if native_call.run("correlate", *memory, *numbers, ALL_TASKS, threads=threads):
            return volume.in_(first.dtype)
    return definition.correlate(first, second, radius, dilation, scale)


def gather(volume: Tensor, second: Tensor, radius: int, dilation: int, scale: float) -> Tensor:
    """See definition.gather."""
    result = _gather(volume, second, radius, dilation, scale, flipped=False)
    return definition.gather(volume, second, radius, dilation, scale) if result is None else result


def scatter(volume: Tensor, first: Tensor, radius: int, dilation: int, scale: float) -> Tensor:
    """See definition.scatter."""
    result = _gather(volume, first, radius, dilation, scale, flipped=True)
    return definition.scatter(volume, first, radius, dilation, scale) if result is None else result


def _gather(volume: Tensor, maps: Tensor, radius: int, dilation: int, scale: float, *, flipped: bool) -> Tensor | None:
    if not suits(volume, maps):
        return None
    batch, _, height, width = shape = maps.shape
    result = writes(*shape)
    displacements = (2 * radius + 1) ** 2
    memory = reads("volume", volume, (batch, displacements, height, width)), reads("maps", maps, shape), result
    numbers = *shape, radius, definition.effective_dilation(maps, dilation), float(scale), flipped
    threads = native_call.threads_for(2 * maps.numel() * displacements)
    if not native_call.run("gather", *memory, *numbers, ALL_TASKS, threads=threads):
        return None
    return result.in_(maps.dtype)
