"""A network's work on a GPU as one CUDA graph: the host starts hundreds of kernels with one call."""

import logging
import os
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from flowzoo.network import FlowNetwork, FlowPrediction

log = logging.getLogger(__name__)

KEPT = 2
"""Graphs that are kept: of the last so many sizes. Each holds the memory of its activations."""

Pass = Callable[[Tensor, Tensor], FlowPrediction]
"""(B,3,H,W) float RGB in 0..1 twice, on one device, to what a network finds."""

Record = Callable[[Pass, Tensor, Tensor], tuple[FlowPrediction, Callable[[], object]]]
"""Runs a pass once, on a pair that stays where it is: what it gave, and what repeats it on whatever is there then."""


def cuda_graph(run: Pass, first: Tensor, second: Tensor) -> tuple[FlowPrediction, Callable[[], object]]:
    """`run` as a CUDA graph, and what replays it.

    Raises:
        RuntimeError: it does something that cannot be recorded.
    """
    with torch.cuda.device(first.device):
        graph = torch.cuda.CUDAGraph()
        # What other threads do on the device meanwhile is their own.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            found = run(first, second)
    return found, graph.replay


def worth_recording(device: torch.device) -> bool:
    """Whether passes on `device` are recorded: on CUDA, unless FLOWZOO_GRAPHS is 0."""
    return device.type == "cuda" and os.environ.get("FLOWZOO_GRAPHS") != "0"


@dataclass
class _Graph:
    """A recorded pass: from `inputs` to `found`, both always in the same memory."""

    inputs: tuple[Tensor, Tensor]
    found: FlowPrediction
    repeat: Callable[[], object]

    def __call__(self, first: Tensor, second: Tensor) -> FlowPrediction:
        for place, images in zip(self.inputs, (first, second), strict=True):
            place.copy_(images)
        self.repeat()
        return _copied(self.found)


@dataclass
class Recorded:
    """Runs `network` as `eager` does; from the third pair of a size on by replaying what it did with the second.

    The first pair of a size runs as it is: it loads kernels and lets libraries choose theirs. A pass that cannot be
    recorded is run as it is from then on.

    Attributes:
        network: whose passes are recorded.
        eager: its pass, with whatever surrounds it (autocast).
        record: how a pass is recorded.
    """

    network: FlowNetwork
    eager: Pass
    record: Record = cuda_graph
    seen: set[Hashable] = field(default_factory=set, init=False)
    graphs: dict[Hashable, _Graph] = field(default_factory=dict, init=False)
    possible: bool = field(default=True, init=False)

    def __call__(self, first: Tensor, second: Tensor) -> FlowPrediction:
        """As `eager`; what it returns is the caller's own."""
        if not self.possible:
            return self.eager(first, second)
        key = self._key(first, second)
        graph = self.graphs.pop(key, None)
        if graph is None:
            if key not in self.seen:
                self.seen.add(key)
                return self.eager(first, second)
            graph = self._recorded(first, second)
            if graph is None:
                return self.eager(first, second)
        self.graphs[key] = graph  # the last one is the one that was used last
        while len(self.graphs) > KEPT:
            del self.graphs[next(iter(self.graphs))]
        return graph(first, second)

    def _key(self, first: Tensor, second: Tensor) -> Hashable:
        """What a graph holds for: sizes, types, and where the weights lie."""
        places = tuple(weight.data_ptr() for weight in self.network.parameters())
        return first.shape, second.shape, first.dtype, first.stride(), self.network.training, hash(places)

    def _recorded(self, first: Tensor, second: Tensor) -> _Graph | None:
        inputs = first.clone(), second.clone()
        try:
            found, repeat = self.record(self.eager, *inputs)
        except RuntimeError as error:
            self.possible = False
            log.info("%s runs without a CUDA graph: %s", self.network.model_name, str(error).partition("\n")[0])
            return None
        return _Graph(inputs, found, repeat)


def _copied(prediction: FlowPrediction) -> FlowPrediction:
    return replace(prediction, **{name: _copy(value) for name, value in vars(prediction).items()})


def _copy(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, (list, tuple)):
        return type(value)(map(_copy, value))
    if isinstance(value, dict):
        return {key: _copy(entry) for key, entry in value.items()}
    return value
