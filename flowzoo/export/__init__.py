"""Networks as files that run without flowzoo: ONNX, and torch.export's .pt2.

Importing this package imports no torch; the function below does when it is called.
"""

from os import PathLike
from typing import TYPE_CHECKING, Any

from flowzoo.export.shape import Shape

if TYPE_CHECKING:
    import torch

    from flowzoo.export.checked import Checked
    from flowzoo.network import FlowNetwork

__all__ = ["Shape", "export_network"]


def export_network(
    network: "FlowNetwork",
    path: "str | PathLike[str]",
    shape: Shape,
    precision: "torch.dtype | None" = None,
    **facts: Any,
) -> "Checked":
    """Write a flow network as a file whose inputs are `first` and `second` and whose output is `flow`.

    Inputs are (B,3,H,W) float32 RGB in [0,1], the output is (B,2,H,W) float32, x then y, in pixels. The file is
    run before it is kept, at sizes and batches other than the traced one where it takes them, and compared with the
    network.

    Args:
        network: with its weights; it is not changed.
        path: .onnx (needs the extra "export") or .pt2.
        shape: what the inputs may be.
        precision: of the weights and convolutions inside; None = float32.
        facts: what else the file shall say about itself (weights, licence, ...).

    Returns:
        How far the file's flow is from the network's, and what was checked.

    Raises:
        InputError: the network takes no such shape, it cannot be expressed in the format, the file gives another flow
            than the network, or it cannot be written.
    """
    from flowzoo.export.writing import write

    return write(network, path, shape, precision, facts)
