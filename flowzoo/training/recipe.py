"""Presets: a readable TOML file -> typed stages. No torch import, so `--print-config` is instant.

A preset has `summary`, `model`, optionally `seed`, `validate` (names of data sets), `base` (another preset that it
changes), [network] (settings of the network in all stages), [all] (values of `Stage` for all stages), [[stage]]
tables, and [set] (changes in the form of `--set`, for what a preset changes in single stages of its base).
"""

import dataclasses
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from flowzoo import settings as settings_module
from flowzoo.errors import InputError

PRESETS = Path(__file__).parent.parent / "presets"


@dataclass(frozen=True)
class Stage:
    """Everything about one stage of a training run. A preset's [all] table gives the values its stages share.

    Attributes:
        name: of the stage, in logs and for `--set STAGE.key=value`.
        steps: optimiser steps.
        network: settings of the network, as "key=value"; a later stage may add levels or channels: parameters that the
            stage before does not have are taken from the level above where shapes agree, else drawn afresh; new
            channels start without effect.
        data: sources and their shares of a batch, as "NAME" or "NAME:share"; see `flowzoo.training.mixture`.
        crop: height and width of the training crops, pixels.
        batch: pairs per step, over all ranks and accumulation steps.
        accumulate: parts in which a rank computes its share of a batch, to save memory.
        rendering: where pairs that are rendered while training are made: by the "loader" processes one by one, on the
            training "device" a batch at a time, or "auto": on the device where it is a GPU.
        augmentation: name of the augmentation ("none" only crops); see `flowzoo.training.mixture`.
        optimizer, learning_rate, betas, weight_decay: as in torch; biases are not decayed.
        schedule: after a linear rise over the first `warmup` steps, "steps" multiplies the rate by `decay` at each of
            `milestones`; "cosine" and "linear" (the second half of a one-cycle) fall to `last_learning_rate`.
        clip: largest norm of the gradient; 0 = unlimited.
        average: decay of the exponential mean of the weights that is validated and saved; 0 = none. The mean starts
            faster: at step t the decay is at most (1 + t) / (10 + t).
        precision: of the convolutions; "float16" scales its loss (CUDA).
        loss: "charbonnier" (du^2+dv^2+epsilon)^exponent, "robust-l1" (|du|+|dv|+epsilon)^exponent, or "density" (HD3).
        level_weights: of the pyramid's sizes, coarse to fine; full_weight: of the flow at full size.
        unit: pixels that count as an error of 1. reduction: "sum" over pixels, as published, or "mean".
        shrinking: how true flow gets to a level's size; upsample: enlarge the levels' flows instead (sparse truth).
        max_pooling: share of a level's known pixels that counts, those with the largest losses; 1 = all (off).
        reach: with max_pooling, the largest rest that a level can add, in pixels of the level; pixels beyond it count
            as 0. The density loss knows its own reach.
        labels: folder that `flowzoo distill` wrote, relative to the data's; its flow is a second ground truth.
        both_directions: one sample for two pairs that are each other's reverse, whose losses are averaged; for networks
            with both_directions or flow_cues.
        distillation: with labels, weight of the loss against ground truth; the rest goes to the labels.
        frozen: prefixes of parameters that this stage does not train.
        compile: run the network through torch.compile.
        validate_every, save_every, log_every: steps; 0 = only at the end of the stage (validation: never).
        patience: validations without a better EPE after which the stage ends early; 0 = never.
    """

    name: str = "main"
    steps: int = 1000
    network: tuple[str, ...] = ()
    data: tuple[str, ...] = ("synthetic",)
    crop: tuple[int, int] = (320, 448)
    batch: int = 8
    accumulate: int = 1
    rendering: Literal["auto", "loader", "device"] = "auto"
    augmentation: str = "flownet2"
    optimizer: Literal["adam", "adamw"] = "adam"
    learning_rate: float = 1e-4
    last_learning_rate: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 4e-4
    schedule: Literal["constant", "steps", "cosine", "linear"] = "steps"
    milestones: tuple[int, ...] = ()
    decay: float = 0.5
    warmup: int = 0
    clip: float = 0.0
    average: float = 0.0
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    loss: Literal["charbonnier", "robust-l1", "density"] = "charbonnier"
    exponent: float = 0.5
    epsilon: float = 0.01
    level_weights: tuple[float, ...] = (0.32, 0.08, 0.02, 0.01, 0.005)
    full_weight: float = 0.0
    unit: float = 20.0
    reduction: Literal["sum", "mean"] = "sum"
    shrinking: Literal["average", "caffe", "bilinear"] = "caffe"
    upsample: bool = False
    max_pooling: float = 1.0
    reach: float = 4.0
    both_directions: bool = False
    labels: str = ""
    distillation: float = 0.9
    frozen: tuple[str, ...] = ()
    compile: bool = False
    validate_every: int = 0
    save_every: int = 1000
    log_every: int = 50
    patience: int = 0

    def __post_init__(self) -> None:
        for name in ("batch", "accumulate", "save_every", "log_every"):
            if getattr(self, name) < 1:
                raise InputError(
                    f"setting {name!r} of stage {self.name!r} must be at least 1, not {getattr(self, name)}"
                )
        for name in ("steps", "warmup", "validate_every", "patience"):
            if getattr(self, name) < 0:
                raise InputError(f"setting {name!r} of stage {self.name!r} cannot be negative: {getattr(self, name)}")
        for name in ("learning_rate", "last_learning_rate", "weight_decay", "clip"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(
                    f"setting {name!r} of stage {self.name!r} must be 0 or more, not {getattr(self, name)}"
                )
        if not 0 <= self.average < 1:
            raise InputError(
                f"setting 'average' of stage {self.name!r} is a decay from 0 to below 1, not {self.average}"
            )
        if not 0 < self.max_pooling <= 1 or not self.reach > 0:
            raise InputError(
                f"stage {self.name!r} needs max_pooling above 0 up to 1 and reach above 0, "
                f"not {self.max_pooling} and {self.reach}"
            )
        if not 0 <= self.distillation <= 1:
            raise InputError(f"setting 'distillation' of stage {self.name!r} must be 0 to 1, not {self.distillation}")
        if min(self.crop) < 1:
            raise InputError(f"setting 'crop' of stage {self.name!r} is height,width in pixels, not {self.crop}")
        if not self.data:
            raise InputError(f"setting 'data' of stage {self.name!r} is empty: name at least one source")


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
    """

    name: str
    summary: str
    model: str
    seed: int
    validate: tuple[str, ...]
    stages: tuple[Stage, ...]

    def as_json(self) -> str:
        """One line that two equal recipes share; kept in checkpoints."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)


def list_presets() -> dict[str, str]:
    """Name -> summary of the presets in the package."""
    return {path.stem: _with_base(path).get("summary", "") for path in sorted(PRESETS.glob("*.toml"))}


def load_recipe(preset: str, changes: dict[str, Any] | None = None, model: str | None = None) -> Recipe:
    """The recipe of a preset.

    Args:
        preset: a name from `list_presets`, or the path of a TOML file.
        changes: "key" -> value for every stage, "STAGE.key" -> value for one, "seed" -> number.
        model: another network of the zoo.

    Raises:
        InputError: unknown preset, key, stage or value.
    """
    path = Path(preset)
    if path.suffix != ".toml":
        path = PRESETS / f"{preset}.toml"
        if not path.is_file():
            known = settings_module.suggestion(preset, list_presets())
            raise InputError(f"no preset named {preset!r}: {known} (or give a .toml file)")
    table = _with_base(path)
    changes = {str(key): value for key, value in table.get("set", {}).items()} | (changes or {})
    seed = settings_module.convert(changes.pop("seed", table.get("seed", 0)), int, "the seed")
    tables: list[dict[str, Any]] = table.get("stage", [{}])
    names = [str(entry.get("name", "main")) for entry in tables]
    if len(set(names)) != len(names):
        raise InputError(f"{path.name} has two stages of one name: {', '.join(names)}")
    common = tuple(f"{key}={_word(value)}" for key, value in table.get("network", {}).items())
    stages = []
    for name, entry in zip(names, tables, strict=True):
        values = {"name": name, **table.get("all", {}), **entry, **_changes_for(name, names, changes)}
        stage = settings_module.replace(Stage(), f"stage {name!r} of {path.name}", **values)
        stages.append(dataclasses.replace(stage, network=common + stage.network))
    validate = settings_module.convert(table.get("validate", []), tuple[str, ...], f"validate in {path.name}")
    summary, model = str(table.get("summary", "")), model or str(table.get("model", ""))
    return Recipe(path.stem, summary, model, seed, validate, tuple(stages))


def describe(recipe: Recipe) -> str:
    """The recipe as TOML with every value spelled out; reading it back gives the same recipe."""
    shared, *others = [dataclasses.asdict(stage) for stage in recipe.stages]
    common = {k: v for k, v in shared.items() if k != "name" and all(other[k] == v for other in others)}
    lines = [
        f"summary = {_toml(recipe.summary)}",
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


def _with_base(path: Path) -> dict[str, Any]:
    """The tables of a preset on top of those of its `base`: [all], [network] and [set] key by key, others whole."""
    table = _read(path)
    known = {"summary", "base", "model", "seed", "validate", "network", "set", "all", "stage"}
    for key in table:
        if key not in known:
            raise InputError(f"{path.name} has an unknown key {key!r}: {settings_module.suggestion(key, known)}")
    if "base" not in table:
        return table
    below = _with_base(path.with_name(f"{table['base']}.toml"))
    for key in ("all", "network", "set"):
        table[key] = below.get(key, {}) | table.get(key, {})
    return below | table


def _word(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _changes_for(stage: str, stages: list[str], changes: dict[str, Any]) -> dict[str, Any]:
    everywhere, here = {}, {}
    for key, value in changes.items():
        owner, dot, name = key.partition(".")
        if not dot:
            everywhere[key] = value
        elif owner not in stages:
            raise InputError(f"no stage named {owner!r} in this preset: {settings_module.suggestion(owner, stages)}")
        elif owner == stage:
            here[name] = value
    return everywhere | here


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"no preset file {path}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a TOML file: {error}") from None


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(_toml(entry) for entry in value) + "]"
    return json.dumps(value) if isinstance(value, str) else repr(value)
