"""What a pyramid level's decoder reads: costs, features and the rest, in the layout of its convolutions."""

from torch import Tensor

from flowzoo.operators.checks import check_maps, check_real, check_shape
from flowzoo.operators.decoder_input.registered import DECODER_INPUT


def decoder_input(cost: Tensor, features: Tensor, others: Tensor, slope: float, gain: float) -> Tensor:
    """Three maps beside each other, the first behind a leaky ReLU.

    Args:
        cost: (B,K,H,W).
        features: (B,C,H,W).
        others: (B,D,H,W), such as flow and a hidden state.
        slope: of the leaky ReLU of `cost` below 0.
        gain: factor of `cost` behind it.

    Returns:
        (B,K+C+D,H,W), channels last.

    Raises:
        InputError: shapes, devices or numbers that do not fit.
    """
    check_maps("cost", cost)
    batch, _, height, width = cost.shape
    for name, maps in (("features", features), ("others", others)):
        check_maps(name, maps)
        check_shape(name, maps, (batch, maps.shape[1], height, width), "cost", cost)
    check_real("slope", slope)
    check_real("gain", gain)
    result: Tensor = DECODER_INPUT(cost, features, others, slope, gain)
    return result
