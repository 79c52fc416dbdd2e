"""What can be trained: tasks by name. No torch import; a task's class is imported when a run begins."""

from dataclasses import dataclass
from typing import Any

from flowzoo import registry
from flowzoo.errors import InputError
from flowzoo.settings import suggestion
from flowzoo.training.alignment.settings import AlignmentSettings
from flowzoo.training.flow.settings import FlowSettings
from flowzoo.training.frames.settings import FrameSettings
from flowzoo.training.super_resolution.settings import SuperResolutionSettings


@dataclass(frozen=True)
class TaskCard:
    """One task.

    Attributes:
        settings: frozen dataclass instance; its fields (and those of its parts) are keys of this task's presets.
        build: "module:class" of its `flowzoo.training.task.Task`.
    """

    settings: Any
    build: str


TASKS = {
    "alignment": TaskCard(AlignmentSettings(), "flowzoo.training.alignment.task:AlignmentTask"),
    "flow": TaskCard(FlowSettings(), "flowzoo.training.flow.task:FlowTask"),
    "prediction": TaskCard(FrameSettings(), "flowzoo.training.frames.task:FramesTask"),
    "interpolation": TaskCard(FrameSettings(), "flowzoo.training.frames.task:FramesTask"),
    "super-resolution": TaskCard(
        SuperResolutionSettings(), "flowzoo.training.super_resolution.task:SuperResolutionTask"
    ),
}
"""By the name that a preset gives as `task` and that a network's card has."""


def task_card(name: str) -> TaskCard:
    """The card of a task.

    Raises:
        InputError: there is no such task; the message names the nearest one.
    """
    if name not in TASKS:
        raise InputError(f"no training task named {name!r}: {suggestion(name, TASKS)}")
    return TASKS[name]


def task_class(name: str) -> Any:
    """The class behind a name, a subclass of `flowzoo.training.task.Task`."""
    return registry.resolve(task_card(name).build)
