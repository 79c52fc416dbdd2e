"""What differs between one thing to learn and another: a task. Everything else is the loop's.

A task says what a batch is and where samples come from, what a network makes of a batch, what is minimised, and how a
network is scored. Samples have numbers: sample n of a stage is the same whoever asks for it, so that the loop can
resume at any step and share the work between any number of ranks and processes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor

from flowzoo.network import ZooNetwork
from flowzoo.training.recipe import Recipe
from flowzoo.training.stage import Stage


class Batch(Protocol):
    """What the loop needs of a batch; `flowzoo.augmentation.batch.Tensors` is a base for dataclasses of tensors."""

    def to(self, device: torch.device | str) -> Self:
        """The batch on `device`."""


class Samples(Protocol):
    """Samples by number, without end; picklable, since processes that prepare batches hold a copy."""

    def __getitem__(self, number: int) -> Any: ...


@dataclass(frozen=True)
class Data:
    """Where the batches of a stage come from.

    Attributes:
        samples: sample n of the stage, for n = 0, 1, ...; read by the processes that prepare batches.
        join: samples -> a batch, or whatever `finish` takes; in those processes, too.
        finish: the last step, in the training process: what `join` gave -> a batch; None: it is one.
    """

    samples: Samples
    join: Callable[[list[Any]], Any]
    finish: Callable[[Any], Batch] | None = None


@dataclass(frozen=True)
class Loss:
    """What one batch costs.

    Attributes:
        value: a number, the mean over the samples of the batch, with gradient.
        quantities: further numbers without gradient to write into the log, by the names that the task lists in
            `quantities`; means over the samples, too.
    """

    value: Tensor
    quantities: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Score:
    """By which number networks are compared in validation.

    Attributes:
        name: as in the log: "epe", "psnr".
        unit: behind the number in messages, or "".
        higher_is_better: which of two numbers is the better one.
    """

    name: str
    unit: str = ""
    higher_is_better: bool = False

    def better(self, value: float, than: float | None) -> bool:
        """Whether `value` is better than the best so far (None: there is none); a value that is no number is not."""
        if value != value:
            return False
        return than is None or (value > than if self.higher_is_better else value < than)

    def shown(self, value: float) -> str:
        """For a message: "1.234 px"."""
        return f"{value:.3f} {self.unit}".rstrip()


@dataclass(frozen=True)
class Place:
    """Where a task finds what it trains and validates on.

    Attributes:
        root: folder (or list) of the training data; None where the task needs none.
        validate: what the user wants to validate on; empty: what the recipe names, where it is there.
        validation_root: folder of these; None = `root`.
        validation_limit: samples of each of these, from its start; 0 = all.
    """

    root: Path | None = None
    validate: tuple[str, ...] = ()
    validation_root: Path | None = None
    validation_limit: int = 0


class Task(ABC):
    """Base of all tasks. One object serves one run.

    Attributes:
        quantities: names of what `objective` reports besides the loss; each is a column of the log.
        score: by which number the best network is chosen.
    """

    quantities: ClassVar[tuple[str, ...]] = ()
    score: ClassVar[Score] = Score("loss")

    def __init__(self, recipe: Recipe, place: Place) -> None:
        self.recipe, self.place = recipe, place

    def check(self) -> None:  # noqa: B027 (nothing to check is fine)
        """Refuse before step 1 what can cheaply be seen to be wrong; only rank 0 is asked.

        Raises:
            InputError: data, settings or network do not go together, or a file is not what it should be.
        """

    def prepare(self, network: Any, stage: Stage) -> None:  # noqa: B027 (nothing to prepare is fine)
        """Fill parts of a network that has just been built and that do not start at random; weights come after.

        Raises:
            InputError: what should fill them is not there.
        """

    @abstractmethod
    def data(self, stage: Stage, seed: int, device: torch.device) -> Data:
        """Where the batches of `stage` come from; what is random in sample n follows from (seed, n) alone.

        Raises:
            InputError: no such data, or settings that make none.
        """

    @abstractmethod
    def predict(self, network: Any, batch: Any) -> Any:
        """What the network makes of a batch on its device: all that runs in the stage's precision.

        `network(...)`, once or several times, or any of its methods.
        """

    @abstractmethod
    def objective(self, stage: Stage) -> Callable[[Any, Any], Loss]:
        """A function of (what `predict` gave, batch) that says what they cost; it runs in float32.

        Raises:
            InputError: the stage's settings make no loss.
        """

    @property
    def validates(self) -> bool:
        """Whether there is anything to validate on."""
        return False

    def validate(self, network: ZooNetwork) -> dict[str, float]:
        """Scores of a network in eval mode by data set, each in terms of `score`; their mean decides.

        Only rank 0 is asked; the others wait as long as it takes.
        """
        return {}

    def pictures(self, network: ZooNetwork, folder: Path, step: int) -> Iterable[Path]:
        """Write a few pictures of what the network does into `folder`; returns their files. Only rank 0 is asked."""
        return ()
