"""Starting a pair's flow from that of the pair before (RAFT's "warm start" over the frames of a video)."""

import numpy as np
from torch import Tensor

from flowzoo.errors import InputError
from flowzoo.flow.propagation import propagated
from flowzoo.network import FlowNetwork, FlowPrediction


class Continuation:
    """What a sequence of pairs hands on.

    Raises:
        InputError: the network cannot start from a flow.
    """

    def __init__(self, network: FlowNetwork) -> None:
        if not network.takes_start:
            raise InputError(f"{network.model_name} cannot start from a flow: drop --warm-start, or take --model raft")
        self._image: np.ndarray | None = None
        self._flow: Tensor | None = None

    def start(self, first: np.ndarray) -> Tensor | None:
        """Where the flow from `first` starts: the last flow carried along itself, if it ended in this image."""
        if self._flow is None or self._image is None or not np.array_equal(first, self._image):
            return None
        return propagated(self._flow)

    def keep(self, second: np.ndarray, prediction: FlowPrediction) -> None:
        """Remember the flow that ended in `second`."""
        self._image, self._flow = second, prediction.details.get("coarse_flow")
