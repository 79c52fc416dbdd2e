"""Published names of SVG-LP (edenton/svg) and SVG' (s-tian/svg-prime) -> ours.

The authors' files hold pickled modules, which are never loaded. What is taken is state dicts by part, as one file with
names like "encoder.c1.main.0.weight" (or nested: {"encoder": {...}, "decoder": {...}, ...}).
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from flowzoo.checkpoints.keymap import unknown_names

if TYPE_CHECKING:
    from flowzoo.zoo.svg import SVGPrimeSettings, SVGSettings

PARTS = ("encoder", "decoder", "frame_predictor", "posterior", "prior")


def convert(state: Mapping[str, Tensor], settings: "SVGSettings | SVGPrimeSettings") -> dict[str, Tensor]:
    """A published state dict as ours.

    Raises:
        InputError: its names are unknown.
    """
    if any(name.startswith("encoder.stages.") for name in state):
        return dict(state)
    if not any(name.startswith("encoder.c1.") for name in state):
        raise unknown_names(state, "SVG's parts (encoder.c1..., decoder.upc1..., frame_predictor..., ...)")
    last = max(int(name.split(".")[1][1:]) for name in state if re.match(r"encoder\.c\d", name))
    return {_renamed(name, last): value for name, value in state.items()}


def _renamed(name: str, last: int) -> str:
    """`last` is the number of the encoder's last layer, which makes the code."""
    part, _, rest = name.partition(".")
    found = re.match(r"(c|upc)(\d+)\.(.*)", rest)
    if part not in ("encoder", "decoder") or found is None:
        for theirs, ours in (("mu_net.", "mean."), ("logvar_net.", "log_variance."), ("output.0.", "output.")):
            name = name.replace(theirs, ours)
        return name
    number, inside = int(found[2]), found[3].replace("main.", "")
    if part == "encoder":
        return f"encoder.code.{inside}" if number == last else f"encoder.stages.{number - 1}.{inside}"
    if number == 1:
        return f"decoder.start.{inside}"
    layers = inside.split(".")
    if number == last and "main." not in found[3]:
        # The layer that makes colours stands behind the finest stage's convolution, or alone.
        return f"decoder.end.{layers[-1]}"
    return f"decoder.stages.{number - 2}.{inside}"
