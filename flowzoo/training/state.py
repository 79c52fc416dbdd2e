"""Checkpoints of a run: written whole or not at all, the last two kept, read back bit for bit."""

import dataclasses
import json
import logging
import os
import pickle
import re
from pathlib import Path
from typing import Any

import torch

from flowzoo.errors import InputError
from flowzoo.files.atomic import replacing
from flowzoo.training.recipe import Recipe, Stage

KEPT = 2
log = logging.getLogger(__name__)


def save_state(folder: Path, recipe: Recipe, step: int, state: dict[str, Any]) -> Path:
    """Write the state after `step` steps of the whole run, then delete all but the last two.

    Raises:
        InputError: the disk is full or not writable; the checkpoints that were there are untouched.
    """
    path = folder / f"checkpoint-{step:09d}.pt"
    content = {"recipe": recipe.as_json(), "step": step, **state}
    try:
        with replacing(path) as temporary:
            torch.save(content, temporary)
    except (OSError, RuntimeError) as error:  # torch reports a failed write as a RuntimeError
        raise InputError(
            f"cannot write {path}: {_reason(error)}; free some space and run again with --resume"
        ) from error
    for old in checkpoints(folder)[:-KEPT]:
        old.unlink(missing_ok=True)
    return path


def load_state(folder: Path, recipe: Recipe) -> dict[str, Any] | None:
    """The newest readable state in `folder`, on the CPU; None where there is none.

    Raises:
        InputError: the checkpoint belongs to another preset, or none of those there can be read.
    """
    found = checkpoints(folder)
    for path in reversed(found):
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            recipe_there, _ = state["recipe"], state["step"]
        except (OSError, RuntimeError, EOFError, KeyError, TypeError, ValueError, pickle.UnpicklingError) as error:
            log.warning("%s cannot be read (%s); trying the one before", path, type(error).__name__)
            continue
        if not same_recipe(recipe_there, recipe):
            raise InputError(
                f"{path} belongs to another recipe ({_difference(recipe_there, recipe)}): resume with the preset and "
                "--set values it was started with, or start anew in another folder (-o)"
            )
        return state
    if found:
        raise InputError(
            f"none of the {len(found)} checkpoints in {folder} can be read: start again in another folder (-o)"
        )
    return None


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints in `folder`, oldest first."""
    return sorted(path for path in folder.glob("checkpoint-*.pt") if re.fullmatch(r"checkpoint-\d{9}\.pt", path.name))


def random_state(device: torch.device) -> dict[str, Any]:
    """Of torch; data order and augmentation have generators of their own, made from (seed, index)."""
    state: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: dict[str, Any], device: torch.device) -> None:
    """The inverse of `random_state`."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    return str(error).splitlines()[0]


def same_recipe(there: str, here: Recipe) -> bool:
    """Whether a stored recipe says the same; a setting that did not exist when it was stored has its default."""
    return bool(_completed(there) == json.loads(here.as_json()))


def _completed(stored: str) -> dict[str, Any]:
    recipe: dict[str, Any] = json.loads(stored)
    defaults = json.loads(json.dumps(dataclasses.asdict(Stage())))
    return recipe | {"stages": [defaults | stage for stage in recipe.get("stages", ())]}


def _difference(there: str, here: Recipe) -> str:
    """The first setting in which a stored recipe differs, in words."""
    old, new = _completed(there), json.loads(here.as_json())
    for key in ("name", "model", "seed"):
        if old.get(key) != new[key]:
            return f"its {key} is {old.get(key)!r}, here it is {new[key]!r}"
    if len(old.get("stages", ())) != len(new["stages"]):
        return "it has another number of stages"
    for before, after in zip(old["stages"], new["stages"], strict=True):
        for key, value in after.items():
            if before.get(key) != value:
                return f"stage {after['name']}: {key} was {before.get(key)!r}, here it is {value!r}"
    return "its stages differ"
