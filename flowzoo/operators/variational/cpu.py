"""Variational flow's operators on the CPU (kernels/variational.cpp and variational_step.cpp), or portable."""

from torch import Tensor

from flowzoo.operators import native_call
from flowzoo.operators.native_call import reads, suits, writes
from flowzoo.operators.variational import definition

_FLOPS = 100
"""Of a pixel, about."""


def variational_data(
    first: Tensor, second: Tensor, flow: Tensor, normaliser: float, mismatch: float, least: float
) -> Tensor:
    """See definition.variational_data."""
    if suits(first, second, flow):
        batch, _, height, width = flow.shape
        grey, data = (batch, 1, height, width), writes(batch, 11, height, width)
        images = reads("first", first, grey), reads("second", second, grey)
        memory = *images, reads("flow", flow, (batch, 2, height, width)), data
        numbers = batch, height, width, float(normaliser), float(mismatch), float(least)
        threads = native_call.threads_for(_FLOPS * flow.numel())
        if native_call.run("variational_data", *memory, *numbers, threads=threads):
            return data.in_(flow.dtype)
    return definition.variational_data(first, second, flow, normaliser, mismatch, least)


def flow_reliability(first: Tensor, second: Tensor, flow: Tensor, mismatch: float, least: float) -> Tensor:
    """See definition.flow_reliability."""
    if suits(first, second, flow):
        batch, _, height, width = flow.shape
        grey = batch, 1, height, width
        trust = writes(*grey)
        images = reads("first", first, grey), reads("second", second, grey)
        memory = *images, reads("flow", flow, (batch, 2, height, width)), trust
        threads = native_call.threads_for(_FLOPS // 2 * flow.numel())
        numbers = batch, height, width, float(mismatch), float(least)
        if native_call.run("flow_reliability", *memory, *numbers, threads=threads):
            return trust.in_(flow.dtype)
    return definition.flow_reliability(first, second, flow, mismatch, least)


def variational_system(
    data: Tensor, edges: Tensor, flow: Tensor, step: Tensor, alpha: float, delta: float, gamma: float, epsilon: float
) -> Tensor:
    """See definition.variational_system."""
    if suits(data, edges, flow, step):
        batch, _, height, width = flow.shape
        system, pair = writes(batch, 7, height, width), (batch, 2, height, width)
        inputs = reads("edges", edges, pair), reads("flow", flow, pair), reads("step", step, pair)
        memory = reads("data", data, (batch, 11, height, width)), *inputs, system
        numbers = batch, height, width, float(alpha), float(delta), float(gamma), float(epsilon)
        threads = native_call.threads_for(_FLOPS * flow.numel())
        if native_call.run("variational_system", *memory, *numbers, threads=threads):
            return system.in_(data.dtype)
    return definition.variational_system(data, edges, flow, step, alpha, delta, gamma, epsilon)


def variational_step(first: Tensor, second: Tensor, edges: Tensor, flow: Tensor, *numbers: float) -> Tensor:
    """See definition.variational_step."""
    terms, weights, (sweeps, factor, largest) = definition.StepNumbers._make(numbers).parts()
    if suits(first, second, edges, flow):
        batch, _, height, width = flow.shape
        grey, pair = (batch, 1, height, width), (batch, 2, height, width)
        moved = writes(*pair)
        images = reads("first", first, grey), reads("second", second, grey)
        memory = *images, reads("edges", edges, pair), reads("flow", flow, pair), moved
        reals = map(float, (*terms, *weights, factor, largest))
        threads = native_call.threads_for((2 * _FLOPS + 20 * sweeps) * flow.numel())
        if native_call.run("variational_step", *memory, batch, height, width, sweeps, *reals, threads=threads):
            return moved.in_(flow.dtype)
    return definition.variational_step(first, second, edges, flow, *numbers)
