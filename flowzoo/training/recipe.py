"""Recipes: a preset, with what the user changed, as typed stages. No torch import, so `--print-config` is instant.

A preset has `summary`, `model`, optionally `task` (default: flow), `seed`, `validate` (names of data sets), `base`
(another preset that it changes), [network] (settings of the network in all stages), [all] (values of `Stage` and of the
task's settings for all stages), [[stage]] tables, and [set] (changes in the form of `--set`, for what a preset changes
in single stages of its base).
"""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from flowzoo.errors import InputError
from flowzoo.settings import convert, flat, replace, shown, suggestion
from flowzoo.training.preset import PRESETS, preset_path, preset_tables
from flowzoo.training.stage import Stage
from flowzoo.training.tasks import task_card


@dataclass(frozen=True)
class Recipe:
    """A whole run.

    Attributes:
        name: of the preset.
        summary: one line.
        model: name in the zoo.
        seed: of initial weights, data order and augmentation.
        validate: data sets that are validated on where they are there, as "NAME" or "NAME/SUBSET".
        stages: in order; optimiser and schedule start anew in each.
        task: what is learned, a name of `flowzoo.training.tasks.TASKS`.
    """

    name: str
    summary: str
    model: str
    seed: int
    validate: tuple[str, ...]
    stages: tuple[Stage, ...]
    task: str = "flow"

    def as_json(self) -> str:
        """One line that two equal recipes share; kept in checkpoints."""
        own = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}
        return json.dumps(own | {"stages": [flat(stage) for stage in self.stages]}, sort_keys=True)


def list_presets(task: str | None = None) -> dict[str, str]:
    """Name -> summary of the presets in the package; with `task` of those of that task only."""
    tables = {path.stem: preset_tables(path) for path in sorted(PRESETS.glob("*.toml"))}
    wanted = {name: table for name, table in tables.items() if task in (None, table.get("task", "flow"))}
    return {name: table.get("summary", "") for name, table in wanted.items()}


def load_recipe(preset: str, changes: dict[str, Any] | None = None, model: str | None = None) -> Recipe:
    """The recipe of a preset.

    Args:
        preset: a name from `list_presets`, or the path of a TOML file.
        changes: "key" -> value for every stage, "STAGE.key" -> value for one, "seed" -> number.
        model: another network of the zoo.

    Raises:
        InputError: unknown preset, key, stage or value.
    """
    path = preset_path(preset)
    table = preset_tables(path)
    changes = {str(key): value for key, value in table.get("set", {}).items()} | (changes or {})
    seed = convert(changes.pop("seed", table.get("seed", 0)), int, "the seed")
    if not 0 <= seed < 2**31:
        raise InputError(f"the seed cannot be {shown(seed)}: give a whole number from 0 to 2147483647")
    task = str(table.get("task", "flow"))
    common = tuple(f"{key}={_word(value)}" for key, value in table.get("network", {}).items())
    validate = convert(table.get("validate", []), tuple[str, ...], f"validate in {path.name}")
    summary, model = str(table.get("summary", "")), model or str(table.get("model", ""))
    stages = _stages(path.name, table, changes, common, task)
    if not model:
        raise InputError(f"{path.name} names no network: give one as model in the file, or with --model")
    return Recipe(path.stem, summary, model, seed, validate, stages, task)


def _stages(
    file: str, table: dict[str, Any], changes: dict[str, Any], common: tuple[str, ...], task: str
) -> tuple[Stage, ...]:
    """The stages of a preset's tables; `common` are the settings of the network in all of them."""
    tables: list[dict[str, Any]] = table.get("stage", [{}])
    names = [str(entry.get("name", "main")) for entry in tables]
    if len(set(names)) != len(names):
        twice = next(name for number, name in enumerate(names) if name in names[:number])
        raise InputError(f"{file} has two stages of one name: {shown(twice)}")
    start = Stage(task=task_card(task).settings)
    stages = []
    for name, entry in zip(names, tables, strict=True):
        values = {"name": name, **table.get("all", {}), **entry, **_changes_for(name, names, changes)}
        owner = f"stage {shown(name)} of {file}"
        try:
            stage = replace(start, owner, **values)
        except InputError as error:
            raise InputError(str(error) if f"stage {shown(name)}" in str(error) else f"{owner}: {error}") from error
        stages.append(dataclasses.replace(stage, network=common + stage.network))
    return tuple(stages)


def describe(recipe: Recipe) -> str:
    """The recipe as TOML with every value spelled out; reading it back gives the same recipe."""
    shared, *others = [flat(stage) for stage in recipe.stages]
    common = {k: v for k, v in shared.items() if k != "name" and all(other[k] == v for other in others)}
    lines = [
        f"summary = {_toml(recipe.summary)}",
        f"task = {_toml(recipe.task)}",
        f"model = {_toml(recipe.model)}",
        f"seed = {recipe.seed}",
        f"validate = {_toml(recipe.validate)}",
        "",
        "[all]",
    ]
    lines += [f"{key} = {_toml(value)}" for key, value in common.items()]
    for stage in (shared, *others):
        lines += ["", "[[stage]]", *(f"{k} = {_toml(v)}" for k, v in stage.items() if k not in common)]
    return "\n".join(lines) + "\n"


def _word(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _changes_for(stage: str, stages: list[str], changes: dict[str, Any]) -> dict[str, Any]:
    everywhere, here = {}, {}
    for key, value in changes.items():
        owner, dot, name = key.partition(".")
        if not dot:
            everywhere[key] = value
        elif owner not in stages:
            raise InputError(f"no stage named {shown(owner)} in this preset: {suggestion(owner, stages)}")
        elif owner == stage:
            here[name] = value
    return everywhere | here


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(_toml(entry) for entry in value) + "]"
    return json.dumps(value) if isinstance(value, str) else repr(value)
