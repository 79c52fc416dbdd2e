"""Started with the sanitizers' runtime: runs native kernels of the libraries that standard input names, one a process.

A line of input is a library, the start of the names of the operators to run ("" is all) and a file for what is printed,
as JSON; the answer is the exit status. What is imported serves all of them, since each runs in a fork.
"""

import ctypes
import json
import os
import signal
import sys
import traceback
from collections.abc import Iterator

import test_op_channel_doubling as doubled
import test_op_convolution_few as few
import test_op_convolution_few_inputs as few_inputs
import test_op_convolution_tiles as tiled
import test_op_deform_kernel as deformed
import test_op_warp as warped
import test_op_weighted_sums as summed
import torch
from operator_samples import SAMPLES, Sizes

from flowzoo.operators import native, native_call
from flowzoo.operators.channel_doubling import cpu as channel_doubling
from flowzoo.operators.convolution import cpu as convolution
from flowzoo.operators.convolution import cpu_few_inputs, cpu_few_outputs
from flowzoo.operators.deform import cpu as deform
from flowzoo.operators.registration import REGISTERED
from flowzoo.operators.warp import cpu as warp
from flowzoo.operators.weighted_sums import cpu as weighted_sums

LONGEST = 1800
"""Seconds after which a process that runs kernels is ended."""
SIZES = (1, 1, 1), (2, 5, 7), (1, 19, 34), (1, 3, 1)


def maps(channels: int) -> torch.Tensor:
    """Small maps, channels last."""
    return torch.randn(2, 7, 9, channels).permute(0, 3, 1, 2)


def winograd() -> None:
    """Both tiles and both types, of one map and of two."""
    for first, second, outputs in ((32, 5, 33), (64, 41, 7)):
        weight, bias = torch.randn(outputs, first + second, 3, 3), torch.randn(outputs)
        for dilation, side in ((1, 4), (2, 4), (1, 6), (2, 6)):
            convolution.tile_side = lambda *arguments, side=side: side
            convolution.convolution_of_two(maps(first), maps(second), weight, bias, dilation, 0.1)
            for given in (maps(first), maps(first).bfloat16()):
                convolution.convolution(given, weight[:, :first], None, dilation, 1.0)


def drawn_for_weights() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """What a convolution has seen, and the gradient that came to its results."""
    for channels, outputs, height in ((5, 33, 7), (40, 20, 99)):
        seen, given = (torch.randn(2, height, 22, count).permute(0, 3, 1, 2) for count in (channels, outputs))
        yield seen, given


def winograd_weights() -> None:
    """Both types."""
    for seen, given in drawn_for_weights():
        for kind in (torch.float32, torch.bfloat16):
            convolution.weight_gradient(seen.to(kind), given.to(kind), 2)


def convolution_weights() -> None:
    """Gradients to the weights of any window."""
    for seen, given in drawn_for_weights():
        weight = torch.empty(given.shape[1], seen.shape[1], 3, 3)
        convolution.any_weight_gradient(seen, given, weight, 1, (1, 1), 1)


def tile_convolution() -> None:
    """Both types, as autocast has them, too."""
    for case in tiled.CASES:
        seen, weight, bias, *numbers = tiled.drawn(case)
        for given in (seen, seen.bfloat16()):
            for lowered in (False, True):
                convolution.tile_convolution(given, weight, bias, *numbers, 0.1, lowered=lowered)


def few_outputs_of() -> None:
    """Both types."""
    for channels, outputs, window, padding, *sides in few.CASES:
        seen, weight, bias = few.drawn(channels, outputs, window, *sides)
        for given in (seen, seen.bfloat16()):
            cpu_few_outputs.convolution(given, weight, bias, padding)


def few_inputs_of() -> None:
    """All layouts of images."""
    for channels, outputs, window, stride, padding, *sides in few_inputs.CASES:
        seen, weight, bias = few_inputs.drawn(channels, outputs, window, *sides)
        for given in few_inputs.layouts(seen):
            cpu_few_inputs.convolution(given, weight, bias, stride, padding, 0.1)


def sums() -> None:
    """Along both axes."""
    for shape in summed.SHAPES:
        for axis in (2, 3):
            seen, index, weight = summed.drawn(shape, axis)
            weighted_sums.weighted_sums(seen, axis, index, weight)


def drawn_to_warp() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Maps of both layouts and types, and flow."""
    for shape in warped.SHAPES:
        features, flow = warped.drawn(shape)
        last = features.contiguous(memory_format=torch.channels_last)
        for given in (features, last, last.bfloat16()):
            yield given, flow


def warping() -> None:
    """The result."""
    for given, flow in drawn_to_warp():
        warp.warp(given, flow)


def warp_gradients() -> None:
    """Both gradients."""
    for given, flow in drawn_to_warp():
        warp.gradients(given, flow, torch.ones_like(given), (True, True))


def doubling() -> None:
    """In float32, and as autocast has it."""
    for shape in doubled.SHAPES:
        seen, weight = doubled.drawn(shape)
        for lowered in (False, True):
            with torch.autocast("cpu", torch.bfloat16, enabled=lowered):
                channel_doubling.channel_doubling(seen, weight)


def deforming() -> None:
    """The result and all gradients, with both rules at the edge."""
    for shape in deformed.SHAPES:
        gradient, tensors, numbers = deformed.problem(shape)
        for legacy in (False, True):
            deform.deform(*tensors, *numbers, legacy)
            deform.deform_backward(gradient, *tensors[:3], tensors[4], *numbers, legacy)


EXERCISES = {
    "winograd": winograd,
    "winograd_weights": winograd_weights,
    "convolution_weights": convolution_weights,
    "tile_convolution": tile_convolution,
    "few_outputs": few_outputs_of,
    "few_inputs": few_inputs_of,
    "weighted_sums": sums,
    "warp": warping,
    "warp_gradients": warp_gradients,
    "channel_doubling": doubling,
    "deform": deforming,
}
"""By the kernel that a library must have."""


def run(library: ctypes.CDLL, prefix: str) -> None:
    """Registered operators whose names start with `prefix`, and every exercise for which the library has its kernel."""
    exercises = [exercise for kernel, exercise in EXERCISES.items() if hasattr(library, f"flowzoo_{kernel}")]
    operators = [name for name in REGISTERED if name.startswith(prefix)]
    assert exercises or operators, "nothing is run"
    assert prefix or len(exercises) == len(EXERCISES), "the whole library lacks a kernel"
    native.library = lambda: library
    for name in operators:
        for size in SIZES:
            for arguments in SAMPLES[name](Sizes(*size)):
                REGISTERED[name].call(*arguments)
    for exercise in exercises:
        exercise()


def run_in_fork(library: str, prefix: str, printed: str) -> int:
    """The exit status of a process that runs it and writes what is said into the file `printed`."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    signal.alarm(LONGEST)
    with open(printed, "w") as file:
        os.dup2(file.fileno(), 2)
    try:
        run(ctypes.CDLL(library), prefix)
    except BaseException:  # as an interpreter that ends by it
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def main() -> None:
    """Answer every line."""
    native_call.threads_for = lambda flops: 2
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    for line in sys.stdin:
        print(run_in_fork(*json.loads(line)), flush=True)


if __name__ == "__main__":
    main()
