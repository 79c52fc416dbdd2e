"""Writes the weights of a training run as it stands, from its newest checkpoint; the run is not disturbed.

    python tools/weights_of_run.py runs/wren-global -o wren-now.safetensors [--half] [--last]

They are the averaged ones where the run averages (`--last`: those of the last step). Settings that matter in training
alone (how often a decoder runs, both directions) are left out: the file says what the network needs to have.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowzoo import registry
from flowzoo.checkpoints import save_weights
from flowzoo.errors import InputError
from flowzoo.training.state import newest_state


def settings_of(model: str, wanted: dict[str, str], weights: dict[str, Tensor]) -> dict[str, str]:
    """Of `wanted`, the settings without which the network would have other parameters than `weights`."""
    kept = dict(wanted)
    shapes = {name: value.shape for name, value in weights.items()}
    for name in wanted:
        without = {key: value for key, value in kept.items() if key != name}
        state = registry.build(model, **without).state_dict()
        if {key: value.shape for key, value in state.items()} == shapes:
            kept = without
    return kept


def write(run: Path, file: Path, *, half: bool, last: bool) -> int:
    """See the module; returns the step.

    Raises:
        InputError: no checkpoint, a damaged one, or no room for the file.
    """
    state = newest_state(run)
    recipe: dict[str, Any] = json.loads(state["recipe"])
    weights = state["network"] if last or state["average"] is None else state["average"]
    wanted = dict(entry.partition("=")[::2] for entry in recipe["stages"][state["stage"]]["network"])
    network = registry.build(recipe["model"], **settings_of(recipe["model"], wanted, weights))
    network.load_state_dict(weights)
    save_weights(network.to(torch.float16 if half else torch.float32), file, recipe=recipe["name"], step=state["step"])
    return int(state["step"])


def main() -> None:
    """Read the options and do it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("-o", "--output", type=Path, required=True, help="file to write, .safetensors")
    parser.add_argument("--half", action="store_true", help="in float16, as the weights that ship")
    parser.add_argument("--last", action="store_true", help="those of the last step, not their average")
    arguments = parser.parse_args()
    try:
        step = write(arguments.run, arguments.output, half=arguments.half, last=arguments.last)
    except InputError as error:
        raise SystemExit(f"weights_of_run: {error}") from None
    print(f"wrote {arguments.output}: step {step} of {arguments.run}, {arguments.output.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
