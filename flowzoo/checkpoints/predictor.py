"""Names of the "Comparing Correspondences" code (model.N...) -> ours, for the predictor and the toy generator."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from flowzoo.checkpoints.keymap import Renaming, unknown_names

if TYPE_CHECKING:
    from flowzoo.zoo.predictor import PredictorSettings, ToyGeneratorSettings

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def convert(state: Mapping[str, Tensor], settings: "PredictorSettings | ToyGeneratorSettings") -> dict[str, Tensor]:
    """A published state dict as ours.

    Raises:
        InputError: its names are unknown, or do not match.
    """
    if any(name.startswith("begin.") for name in state):
        return dict(state)
    # find_state_dict takes "model." for a wrapper's prefix, since all names share it.
    state = {name.removeprefix("model."): value for name, value in state.items()}
    if "1.weight" not in state:
        raise unknown_names(state, "the authors' generators (model.1.weight, ...)")
    names = Renaming(state, "Comparing Correspondences'")
    three_dimensional = state["1.weight"].dim() == 5
    _activated(names, 1, 2, "begin")
    for index in range(3):
        _activated(names, 4 + 3 * index, 5 + 3 * index, f"reduce.{index}")
    blocks = [(13 + n, f"motion.{n}") for n in range(2)] + [(16 + n, f"frame.{n}") for n in range(4)]
    for number, ours in blocks if three_dimensional else [(13 + n, f"frame.{n}") for n in range(6)]:
        _activated(names, f"{number}.conv_block.1", f"{number}.conv_block.2", f"{ours}.first")
        _activated(names, f"{number}.conv_block.5", f"{number}.conv_block.6", f"{ours}.second")
    for index in range(3):
        # Behind each enlargement by repetition; transposed convolutions enlarge by themselves.
        first, shift = (21 + 4 * index, 1) if three_dimensional else (19 + 3 * index, 0)
        _activated(names, first, first + 1, f"enlarge.{index}", shift)
    names.move_layer("33" if three_dimensional else "29", "colours")
    return names.finish()


def _activated(names: Renaming, convolution: int | str, norm: int | str, ours: str, shift: int = 0) -> None:
    """A convolution and its BatchNorm."""
    names.move_layer(str(convolution), f"{ours}.{shift}")
    for entry in NORM:
        names.move(f"{norm}.{entry}", f"{ours}.{shift + 1}.{entry}")
