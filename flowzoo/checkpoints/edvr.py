"""Published names of EDVR -> ours. BasicSR's names are ours; mmagic's differ by its convolution modules."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from flowzoo.checkpoints.keymap import unknown_names
from flowzoo.errors import InputError

if TYPE_CHECKING:
    from flowzoo.zoo.edvr import EDVRSettings

_RULES = (
    (r"^generator\.", ""),
    (r"^feat_l([23])_conv([12])\.conv\.", r"conv_l\1_\2."),
    (r"^pcd_alignment\.", "pcd_align."),
    (r"^upsample([12])\.upsample_conv\.", r"upconv\1."),
    (r"^((?:pcd_align\.(?:offset_conv|feat_conv|cas_offset_conv)|fusion\.)[\w.]*)\.conv\.", r"\1."),
)


def convert(state: Mapping[str, Tensor], settings: "EDVRSettings") -> dict[str, Tensor]:
    """A published state dict as ours.

    Raises:
        InputError: its names are unknown, or it is of an EDVR with other settings (the message says which).
    """
    if not any("pcd_align" in name for name in state):
        raise unknown_names(state, "BasicSR's or mmagic's EDVR")
    result = {}
    for name, value in state.items():
        if name in ("step_counter", "generator.step_counter"):
            continue
        for pattern, replacement in _RULES:
            name = re.sub(pattern, replacement, name)
        result[name] = value
    _compare(result, settings)
    return result


def _compare(state: Mapping[str, Tensor], settings: "EDVRSettings") -> None:
    """Say which settings a file was made with, where they are not the given ones."""
    tsa = any(name.startswith("fusion.temporal_attn1.") for name in state)
    weight = state.get("fusion.feat_fusion.weight" if tsa else "fusion.weight")
    if weight is None or weight.dim() != 4 or weight.shape[0] != settings.channels:
        return
    found = {
        "tsa": tsa,
        "frames": weight.shape[1] // weight.shape[0],
        "predeblur": any(name.startswith("predeblur.") for name in state),
        "hr_in": "predeblur.stride_conv_hr1.weight" in state,
    }
    other = {name: value for name, value in found.items() if value != getattr(settings, name)}
    if other:
        words = " ".join(f"--set {name}={str(value).lower()}" for name, value in other.items())
        raise InputError(f"they are of an EDVR with other settings: add {words}")
