"""What the zoo knows about a network before it builds it."""

from dataclasses import dataclass, field
from typing import Any, Literal

Task = Literal["flow", "super-resolution", "prediction", "interpolation", "alignment"]
VERBS: dict[Task, str] = {
    "flow": "infer",
    "super-resolution": "superresolve",
    "prediction": "predict",
    "interpolation": "interpolate",
    "alignment": "train align-synthetic",
}
"""The command that runs networks of a task."""


@dataclass(frozen=True)
class Card:
    """One named network: an architecture with settings.

    Attributes:
        name: as users write it.
        summary: one line.
        build: "module:callable"; called with the settings, returns a `FlowNetwork` or, for tasks on frames, a
            `VideoNetwork`.
        settings: frozen dataclass instance with this name's values; its fields are the settings users may change.
        parameters: number of parameters, with those of frozen backbones.
        paper: authors, title, venue and year.
        parts: pyramid parts in words, by role (features, align, measure, decode, regularise).
        checkpoint: "module:callable" that turns published key names into ours, or "" where nothing was published;
            called as `callable(state_dict, settings) -> state_dict`.
        default_weights: tag used by `estimate(name, ...)` and the command line when none is given; "" = ask the user.
        task: what the network computes: "flow" between two images, or frames from frames.
        notes: what a reader should know (inferred configurations, licences of published weights).
    """

    name: str
    summary: str
    build: str
    settings: Any
    parameters: int
    paper: str
    parts: dict[str, str] = field(default_factory=dict)
    checkpoint: str = ""
    default_weights: str = ""
    task: Task = "flow"
    notes: str = ""
