"""Published names of TOFlow -> ours: BasicSR's and mmagic's.

The mean and deviation of the images that some files hold are always ImageNet's.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from flowzoo.checkpoints.keymap import Renaming, unknown_names
from flowzoo.checkpoints.task_flow import move_task_flow

if TYPE_CHECKING:
    from flowzoo.zoo.toflow import TOFlowSettings


def convert(state: Mapping[str, Tensor], settings: "TOFlowSettings") -> dict[str, Tensor]:
    """A published state dict as ours.

    Raises:
        InputError: its names are unknown, or incomplete.
    """
    state = {name.removeprefix("generator."): value for name, value in state.items()}
    if any(name.startswith("spynet.levels.") for name in state):
        return state
    if not any(name.startswith("spynet.basic_module.") for name in state):
        raise unknown_names(state, "BasicSR's or mmagic's TOFlow")
    names = Renaming(state, "TOFlow")
    move_task_flow(names, "spynet", "spynet")
    for index in (1, 2, 3, 4):
        theirs = f"conv{index}" if names.has(f"conv{index}.weight") else f"conv_{index}"
        names.move_layer(theirs, f"conv_{index}")
    names.drop("mean|std|spynet.mean|spynet.std|step_counter")
    return names.finish()
