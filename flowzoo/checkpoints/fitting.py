"""Whether the contents of a file fill a network."""

from pathlib import Path
from typing import Any

from torch import Tensor

from flowzoo.checkpoints.formats import Checkpoint
from flowzoo.checkpoints.importing import import_into, matched, models_that_fit, outline
from flowzoo.errors import InputError
from flowzoo.files.reading import decoding, shown


def taken(checkpoint: Checkpoint) -> str:
    """Which of a file's state dicts was read, and which others there are; "" for a file of one alone."""
    what = shown(checkpoint.entry)
    if "n_averaged" in checkpoint.facts:
        what = f"{what}, an average of {checkpoint.facts['n_averaged']}".lstrip(", ")
    if not checkpoint.others:
        return f"the weights are {what}" if what else ""
    others = shown(", ".join(checkpoint.others), 200)
    return f"the weights are {what or 'those at the top'}; --entry (entry=) can choose {others}"


def recorded_settings(checkpoint: Checkpoint) -> dict[str, Any]:
    """The settings of its network that a file of ours records; none of any other file."""
    return dict(checkpoint.facts.get("settings") or {}) if checkpoint.format == "flowzoo" else {}


def state_for(name: str, checkpoint: Checkpoint, path: Path | str, settings: dict[str, Any]) -> dict[str, Tensor]:
    """The state dict that the network `name` with these settings loads strictly.

    Nothing of the network's size is made before the file is known to fill it: its settings may come from the file.

    Raises:
        InputError: the file does not fit; `path` is named.
    """
    if checkpoint.format == "flowzoo" and checkpoint.facts["model"] != name:
        model = shown(checkpoint.facts["model"])
        raise InputError(f"{path} holds weights of {model}, not of {name}: use --model {model}")
    with decoding(f"the settings in {path} make no network {name}"):
        network = outline(name, **settings)
    try:
        if checkpoint.format == "flowzoo":
            return matched(network, checkpoint.tensors)
        return import_into(network, checkpoint.tensors)
    except InputError as error:
        others = [] if checkpoint.format == "flowzoo" else models_that_fit(checkpoint.tensors)
        if others and name not in others:
            shown_names = " or ".join(others)
            raise InputError(
                f"{path} holds weights of {shown_names}, not of {name}: use --model {others[0]}"
            ) from error
        note = f" ({taken(checkpoint)})" if checkpoint.others else ""
        raise InputError(f"{path}: {error}{note}") from error
