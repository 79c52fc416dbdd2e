"""What a training step computes on a GPU as one CUDA graph: the host starts thousands of kernels with one call."""

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from flowzoo.augmentation.batch import tensors_in
from flowzoo.distributed import Ranks
from flowzoo.training.stage import Stage
from flowzoo.training.task import Loss

log = logging.getLogger(__name__)

EAGER_STEPS = 2
"""Steps before the recording: they load kernels and let libraries choose theirs."""

Record = Callable[[Callable[[], Loss]], tuple[Loss, Callable[[], object]]]
"""Runs a computation once: what it gave, and what repeats it with whatever its inputs hold then."""


def records(stage: Stage, ranks: Ranks, device: torch.device) -> bool:
    """Whether the steps of a stage can be recorded, and it wants that."""
    alone = ranks.count == 1 and stage.accumulate == 1
    return stage.graph and device.type == "cuda" and alone and stage.precision != "float16"


def cuda_graph(run: Callable[[], Loss]) -> tuple[Loss, Callable[[], object]]:
    """`run` as a CUDA graph, and what replays it.

    Raises:
        RuntimeError: it does something that cannot be recorded.
    """
    graph = torch.cuda.CUDAGraph()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        run()  # what it keeps for each stream is made outside of the graph
    torch.cuda.current_stream().wait_stream(side)
    with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
        loss = run()
    return loss, graph.replay


class RecordedGradient:
    """A batch's loss and gradient, from the third batch on by replaying what was done with another of its sizes.

    Batches of other sizes, and everything where recording fails, are computed as they are.

    Args:
        compute: adds a batch's gradient to the parameters' and returns its loss, without gradient.
        parameters: those with gradients.
        record: how a computation is recorded.
    """

    def __init__(
        self, compute: Callable[[Any], Loss], parameters: list[nn.Parameter], record: Record = cuda_graph
    ) -> None:
        self.compute, self.parameters, self.record = compute, parameters, record
        self.steps, self.possible = 0, True
        self.inputs: list[Tensor] = []
        self.gradients: list[Tensor | None] = []
        self.loss: Loss | None = None
        self.repeat: Callable[[], object] | None = None

    def __call__(self, batch: Any) -> Loss:
        """The batch's loss; its gradient is in the parameters, which had none before."""
        self.steps += 1
        if not self.possible or self.steps <= EAGER_STEPS:
            return self.compute(batch)
        tensors = tensors_in(batch)
        if self.repeat is None and tensors:
            self._make(batch)
        if self.repeat is None or self.loss is None or list(map(_form, tensors)) != list(map(_form, self.inputs)):
            return self.compute(batch)
        for place, tensor in zip(self.inputs, tensors, strict=True):
            place.copy_(tensor)
        self.repeat()
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = gradient
        return self.loss

    def _make(self, batch: Any) -> None:
        def run() -> Loss:
            for parameter in self.parameters:
                parameter.grad = None
            return self.compute(batch)

        try:
            self.loss, self.repeat = self.record(run)
        except RuntimeError as error:
            self.possible = False
            log.info("steps are not recorded as a CUDA graph: %s", str(error).partition("\n")[0])
        else:
            self.inputs = tensors_in(batch)
            self.gradients = [parameter.grad for parameter in self.parameters]
        for parameter in self.parameters:
            parameter.grad = None


def _form(tensor: Tensor) -> tuple[torch.Size, torch.dtype]:
    return tensor.shape, tensor.dtype
