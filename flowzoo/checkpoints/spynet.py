"""Published names of SPyNet -> ours.

Known: BasicSR, mmagic, and sniklaus' pytorch-spynet; also where all names begin with `spynet.`, as inside the networks
that carry one. The mean and deviation of the images that some files hold are always ImageNet's.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from flowzoo.checkpoints.keymap import Renaming, unknown_names
from flowzoo.models.spynet import CHANNELS, LEVELS

if TYPE_CHECKING:
    from flowzoo.zoo.spynet import SPyNetSettings

_INSIDE = "spynet."


def convert(state: Mapping[str, Tensor], settings: "SPyNetSettings") -> dict[str, Tensor]:
    """A published state dict as ours.

    Raises:
        InputError: its names are unknown, or incomplete.
    """
    if state and all(name.startswith(_INSIDE) for name in state):
        state = {name.removeprefix(_INSIDE): value for name, value in state.items()}
    if any(name.startswith("levels.") for name in state):
        return dict(state)
    if any(".basic_module.0.conv." in name for name in state):
        return _renamed(Renaming(state, "mmagic"), "basic_module.{0}.basic_module.{1}.conv", 1)
    if any(name.startswith("basic_module.") for name in state):
        return _renamed(Renaming(state, "BasicSR"), "basic_module.{0}.basic_module.{1}", 2)
    for word in ("module", "net"):
        if any(name.startswith(f"{word}Basic.") for name in state):
            return _renamed(Renaming(state, "sniklaus"), f"{word}Basic.{{0}}.{word}Basic.{{1}}", 2)
    raise unknown_names(state, "BasicSR's, mmagic's or sniklaus' SPyNets")


def _renamed(names: Renaming, pattern: str, step: int) -> dict[str, Tensor]:
    """`pattern` names layer {1} of level {0}; layers are numbered in steps of `step`."""
    for level in range(LEVELS):
        for index in range(len(CHANNELS) + 1):
            names.move_layer(pattern.format(level, step * index), f"levels.{level}.{2 * index}")
    names.drop("mean|std")
    return names.finish()
