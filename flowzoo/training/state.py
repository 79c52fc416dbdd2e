"""Checkpoints of a run: written whole or not at all, the last two kept, read back bit for bit or not at all."""

import hashlib
import json
import logging
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowzoo.checkpoints.formats.torch_files import read_values
from flowzoo.errors import InputError, counted
from flowzoo.files.atomic import replacing
from flowzoo.files.reading import reason
from flowzoo.settings import flat, shown
from flowzoo.training.recipe import Recipe
from flowzoo.training.stage import Stage
from flowzoo.training.tasks import task_card

KEPT = 2
MARK = b"sha256:"
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
            _sign(temporary)
    except (OSError, RuntimeError) as error:  # torch reports a failed write as a RuntimeError
        raise InputError(
            f"cannot write {path}: {_reason(error)}; free some space and run again with --resume"
        ) from error
    for old in checkpoints(folder)[:-KEPT]:
        old.unlink(missing_ok=True)
    return path


def load_state(
    folder: Path, recipe: Recipe, check: Callable[[dict[str, Any]], None] | None = None
) -> dict[str, Any] | None:
    """The newest undamaged state in `folder`, on the CPU; None where there is none.

    The recipe may have other numbers of steps than the stored one, where they are not over, and another patience.

    Args:
        check: raises an exception for a state that cannot be used; it then counts as damaged.

    Raises:
        InputError: the checkpoint belongs to another recipe, or none of those there can be read.
    """
    found = checkpoints(folder)
    for path in reversed(found):
        try:
            state = _read(path)
            stored, place = _completed(state["recipe"]), (int(state.get("stage", 0)), int(state.get("stage_step", 0)))
            if check is not None:
                check(state)
        except Exception as error:  # whatever a damaged file makes the readers raise
            log.warning("%s is damaged (%s): trying the one before", path, str(error)[:200] or type(error).__name__)
            continue
        difference = _difference(stored, recipe, place)
        if difference:
            raise InputError(
                f"{path} belongs to another recipe ({difference}): resume with the preset and --set values it was "
                "started with, or start anew in another folder (-o)"
            )
        return state
    if found:
        raise InputError(
            f"none of the {len(found)} checkpoints in {folder} can be read: start again in another folder (-o)"
        )
    return None


def newest_state(folder: Path) -> dict[str, Any]:
    """The newest undamaged state in `folder`, of whatever recipe (its JSON is under "recipe"), on the CPU.

    Raises:
        InputError: there is none.
    """
    for path in reversed(checkpoints(folder)):
        try:
            return _read(path)
        except Exception as error:  # whatever a damaged file makes the readers raise
            log.warning("%s is damaged (%s): trying the one before", path, str(error)[:200] or type(error).__name__)
    raise InputError(f"no checkpoint in {folder} that can be read: give the folder of a run (its -o)")


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints in `folder`, oldest first."""
    return sorted(path for path in folder.glob("checkpoint-*.pt") if re.fullmatch(r"checkpoint-\d{9}\.pt", path.name))


def _sign(path: Path) -> None:
    """Write the hash of a zip archive into it, as its comment: readers of zip archives do not mind."""
    comment = len(MARK) + 64
    with path.open("r+b") as file:
        file.seek(-2, os.SEEK_END)  # an archive without a comment ends with the comment's length
        file.write(comment.to_bytes(2, "little"))
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0, os.SEEK_END)
        file.write(MARK + digest.encode())


def _read(path: Path) -> dict[str, Any]:
    """What is in a checkpoint file: tensors and plain values."""
    _verify(path)
    state = read_values(path)
    if not isinstance(state, dict) or type(state["step"]) is not int or not _is_plain(state):
        raise InputError("it holds something else than a state")
    return state


def _verify(path: Path) -> None:
    """Compare a file with the hash in it; one that was written before there was any, with its own check sums."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - len(MARK) - 64))
        comment = file.read()
        if comment.startswith(MARK):
            file.seek(0)
            digest, rest = hashlib.sha256(), size - len(comment)
            while rest and (block := file.read(min(rest, 1 << 20))):
                digest.update(block)
                rest -= len(block)
            if digest.hexdigest().encode() != comment[len(MARK) :]:
                raise InputError("its content does not fit its checksum")
            return
    with zipfile.ZipFile(path) as archive:
        if archive.comment:  # its members' check sums are compared when they are read
            raise InputError("its content does not fit its checksum")


def _is_plain(value: Any) -> bool:
    """Whether `value` is made of tensors and plain values alone."""
    if isinstance(value, dict):
        return all(isinstance(key, (str, int)) and _is_plain(entry) for key, entry in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    if isinstance(value, Tensor):
        return value.layout == torch.strided
    return value is None or isinstance(value, (str, int, float, bool))


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    return reason(error)


def same_recipe(there: str, here: Recipe) -> bool:
    """Whether a stored recipe says the same; a setting that did not exist when it was stored has its default."""
    return not _difference(_completed(there), here)


def _completed(stored: str) -> dict[str, Any]:
    """A stored recipe with every setting."""
    recipe: dict[str, Any] = {"task": "flow"} | json.loads(stored)
    defaults = json.loads(json.dumps(flat(Stage(task=task_card(recipe["task"]).settings))))
    return recipe | {"stages": [defaults | stage for stage in recipe["stages"]]}


def _difference(old: dict[str, Any], here: Recipe, place: tuple[int, int] | None = None) -> str:
    """The first setting in which a stored recipe differs, or "".

    A run that goes on from `place` (stage, steps of it that are done) may have another number of steps where they are
    not over, and another patience.
    """
    new = json.loads(here.as_json())
    resuming, (stage, stage_step) = place is not None, place or (0, 0)
    for key in ("name", "task", "model", "seed", "validate"):
        if old.get(key) != new[key]:
            return f"its {key} is {old.get(key)!r}, here it is {new[key]!r}"
    if len(old["stages"]) != len(new["stages"]):
        return "it has another number of stages"
    for number, (before, after) in enumerate(zip(old["stages"], new["stages"], strict=True)):
        for key, value in after.items():
            if before.get(key) == value or (resuming and key == "patience"):
                continue
            over = ""
            if resuming and key == "steps":
                if (number, value) >= (stage, stage_step):
                    continue
                present = new["stages"][stage]["name"]
                over = f", and that stage is over; --set {present}.steps sets the present one's"
                if number == stage:
                    over = f", and {counted(stage_step, 'step', 'are')} done"
            return f"stage {after['name']}: {key} was {shown(before.get(key))}, here it is {shown(value)}{over}"
    return ""
