"""Names of the flow-based network of the deformable-alignment paper, as TOFlow's code would give them -> ours."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from flowzoo.checkpoints.keymap import Renaming, unknown_names
from flowzoo.checkpoints.task_flow import move_task_flow
from flowzoo.errors import InputError

if TYPE_CHECKING:
    from flowzoo.zoo.flow_vsr import FlowVSRSettings


def convert(state: Mapping[str, Tensor], settings: "FlowVSRSettings") -> dict[str, Tensor]:
    """A state dict with `spynet.N.basic_module...` as ours.

    Raises:
        InputError: its names are unknown, incomplete, or of another number of flows.
    """
    if any(name.startswith("spynet.0.levels.") for name in state):
        return dict(state)
    if not any(name.startswith("spynet.0.basic_module.") for name in state):
        raise unknown_names(state, "the flow-based network's")
    there = len({name.split(".")[1] for name in state if name.startswith("spynet.")})
    if there != settings.flows:
        raise InputError(f"they are of {there} flow networks: add --set flows={there}")
    names = Renaming(state, "flow-based")
    for index in range(settings.flows):
        move_task_flow(names, f"spynet.{index}", f"spynet.{index}")
    for index in (1, 2, 3, 4):
        names.move_layer(f"conv_{index}", f"conv_{index}")
    names.drop("mean|std")
    return names.finish()
