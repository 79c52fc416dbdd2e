"""What every stage of every training run has; what its task adds is a part of its own. No torch import."""

from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from flowzoo.errors import InputError
from flowzoo.settings import shown

Settings = TypeVar("Settings")

MOST = 999_999_999
"""Steps of a run: its checkpoints' names have nine digits."""


@dataclass(frozen=True)
class Stage:
    """Everything about one stage of a training run. A preset's [all] table gives the values its stages share.

    Attributes:
        name: of the stage, in logs and for `--set STAGE.key=value`.
        steps: optimiser steps.
        network: settings of the network, as "key=value"; a later stage may add levels or channels: parameters that the
            stage before does not have are taken from the level above where shapes agree, else drawn afresh; new
            channels start without effect.
        batch: samples per step, over all ranks and accumulation steps.
        accumulate: parts in which a rank computes its share of a batch, to save memory.
        optimizer, learning_rate, betas, weight_decay: as in torch; biases are not decayed.
        schedule: after a linear rise over the first `warmup` steps, "steps" multiplies the rate by `decay` at each of
            `milestones`; "cosine" and "linear" (the second half of a one-cycle) fall to `last_learning_rate`.
        periods, peaks: lengths of the periods of a "cosine" that starts again, steps, and its height in each, as a
            factor of the rate; none = one period to the end. The optimiser goes on.
        rates: "TEXT:FACTOR": parameters with TEXT in their name learn at FACTOR times the rate.
        clip: largest norm of the gradient; 0 = unlimited.
        average: decay of the exponential mean of the weights that is validated and saved; 0 = none. The mean starts
            faster: at step t the decay is at most (1 + t) / (10 + t).
        precision: of the convolutions; "float16" scales its loss (CUDA).
        frozen: prefixes of parameters that this stage does not train.
        compile: run the network through torch.compile.
        graph: on a CUDA device that trains alone, repeat what a step computes as one CUDA graph, which the host starts
            with one call; not with float16 or `accumulate`, which it then does without.
        validate_every, save_every, log_every: steps; 0 = only at the end of the stage (validation: never).
        patience: validations without a better score after which the stage ends early; 0 = never.
        task: the settings of the run's task, a frozen dataclass: its data, its loss. In a preset they stand beside the
            others, under their own names.
    """

    name: str = "main"
    steps: int = 1000
    network: tuple[str, ...] = ()
    batch: int = 8
    accumulate: int = 1
    optimizer: Literal["adam", "adamw"] = "adam"
    learning_rate: float = 1e-4
    last_learning_rate: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 4e-4
    schedule: Literal["constant", "steps", "cosine", "linear"] = "steps"
    milestones: tuple[int, ...] = ()
    decay: float = 0.5
    warmup: int = 0
    periods: tuple[int, ...] = ()
    peaks: tuple[float, ...] = ()
    rates: tuple[str, ...] = ()
    clip: float = 0.0
    average: float = 0.0
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    frozen: tuple[str, ...] = ()
    compile: bool = False
    graph: bool = False
    validate_every: int = 0
    save_every: int = 1000
    log_every: int = 50
    patience: int = 0
    task: Any = None

    def __post_init__(self) -> None:
        for name in ("batch", "accumulate", "save_every", "log_every"):
            self._check(name, 1 <= getattr(self, name) <= MOST, f"at least 1 and at most {MOST}")
        for name in ("steps", "warmup", "validate_every", "patience"):
            self._check(name, 0 <= getattr(self, name) <= MOST, f"0 or more and at most {MOST}")
        for name in ("learning_rate", "last_learning_rate", "weight_decay", "clip", "decay"):
            self._check(name, 0 <= getattr(self, name) < float("inf"), "a number, 0 or more")
        self._check("average", 0 <= self.average < 1, "a decay from 0 to below 1")
        self._check("periods", all(1 <= period <= MOST for period in self.periods), "lengths of 1 step and more")
        self._check("peaks", len(self.peaks) == len(self.periods), "one factor for each of periods")
        self._check("rates", all(factor >= 0 for _, factor in self.factors()), "TEXT:FACTOR with a factor from 0 up")
        self._check("betas", all(0 <= beta < 1 for beta in self.betas), "two decays from 0 to below 1")

    def factors(self) -> tuple[tuple[str, float], ...]:
        """`rates` as (text, factor).

        Raises:
            InputError: an entry is not of that form.
        """
        pairs = []
        for entry in self.rates:
            text, colon, factor = entry.rpartition(":")
            try:
                pairs.append((text, float(factor)))
            except ValueError:
                colon = ""
            self._check("rates", bool(text and colon), "entries TEXT:FACTOR, such as spynet:0.125")
        return tuple(pairs)

    def _check(self, name: str, fine: bool, words: str) -> None:
        if not fine:
            value = shown(getattr(self, name))
            raise InputError(f"setting {name!r} of stage {self.name!r} must be {words}, not {value}")


def settings_for(stage: Stage, kind: type[Settings], about: str) -> Settings:
    """A stage's settings of its task, which `about` names for the message.

    Raises:
        InputError: the stage is another task's.
    """
    if not isinstance(stage.task, kind):
        raise InputError(f"stage {stage.name!r} says nothing about {about}: it belongs to another task")
    return stage.task
