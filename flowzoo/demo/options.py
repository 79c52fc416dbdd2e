"""Networks that the page offers: whose weights are on this machine already."""

from dataclasses import dataclass
from pathlib import Path

from flowzoo import registry
from flowzoo.cache import Kept
from flowzoo.checkpoints.download import RECORD, cached_path
from flowzoo.checkpoints.index import Entry, entries


@dataclass(frozen=True)
class Choice:
    """A network with weights.

    Attributes:
        model: name of the network.
        weights: tag or file.
        title: for people.
    """

    model: str
    weights: str
    title: str


def choices(first: tuple[str, str]) -> list[Choice]:
    """`first` (network and weights), then every flow network whose weights ship or were downloaded before."""
    found = [Choice(*first, _title(*first))]
    for entry in entries().values():
        known = entry.model in registry.cards() and registry.card(entry.model).task == "flow"
        if known and (entry.model, entry.tag) != first and _is_here(entry):
            found.append(Choice(entry.model, entry.tag, _title(entry.model, entry.tag)))
    return found


def _title(model: str, weights: str) -> str:
    name = Path(weights).name
    return model if name == model else f"{model} ({name})"


def _is_here(entry: Entry) -> bool:
    if entry.file:
        return True
    if not entry.url:
        return False
    path = cached_path(entry)
    return Kept(path, path.parent / RECORD).recorded() is not None
