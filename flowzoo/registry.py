"""Name -> card -> network. Importing this module, listing and looking up cards does not import torch."""

import dataclasses
import functools
import importlib
import pkgutil
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, get_args

from flowzoo import settings as settings_module
from flowzoo import zoo
from flowzoo.errors import InputError
from flowzoo.zoo.card import VERBS, Card, Task

if TYPE_CHECKING:
    from flowzoo.network import ZooNetwork


@functools.cache
def cards() -> dict[str, Card]:
    """All cards by name, sorted; read from every module of `flowzoo.zoo` that defines `CARDS`."""
    found: dict[str, Card] = {}
    for entry in sorted(pkgutil.iter_modules(zoo.__path__), key=lambda module: module.name):
        module = importlib.import_module(f"flowzoo.zoo.{entry.name}")
        for card in getattr(module, "CARDS", ()):
            found[card.name] = card
    return dict(sorted(found.items()))


def list_models(pattern: str = "*", task: str | None = None) -> list[str]:
    """Names that match a shell pattern, sorted; with `task` those of that task only.

    Raises:
        InputError: there is no such task.
    """
    if task is not None and task not in get_args(Task):
        raise InputError(f"no task {task!r}: {settings_module.suggestion(task, get_args(Task))}")
    return [name for name, card in cards().items() if fnmatchcase(name, pattern) and task in (None, card.task)]


def card(name: str) -> Card:
    """The card of `name`.

    Raises:
        InputError: there is no such network; the message names the nearest one.
    """
    try:
        return cards()[name]
    except KeyError:
        raise InputError(
            f"no network named {name!r}: {settings_module.suggestion(name, cards())} (flowzoo models lists them)"
        ) from None


def resolve(reference: str) -> Any:
    """The object that a "module:name" reference stands for."""
    module, _, attribute = reference.partition(":")
    return getattr(importlib.import_module(module), attribute)


def require_task(name: str, *tasks: Task) -> None:
    """Refuse a network of another task than the wanted ones.

    Raises:
        InputError: it is one, or there is no such network; the message names the command for it.
    """
    found = card(name).task
    if found not in tasks:
        raise InputError(f"{name} is a network for {found}, not for {' or '.join(tasks)}: use flowzoo {VERBS[found]}")


def build(name: str, **settings: Any) -> "ZooNetwork":
    """The network `name`, of whatever task, with random weights, in training mode.

    Raises:
        InputError: unknown name or setting.
    """
    entry = card(name)
    values = settings_module.replace(entry.settings, f"network {name}", **settings)
    network: ZooNetwork = resolve(entry.build)(values)
    network.model_name, network.settings = name, values
    return network


def changed_settings(network: "ZooNetwork") -> dict[str, Any]:
    """The settings in which `network` differs from its card; what a weights file must record."""
    defaults = card(network.model_name).settings
    return {
        entry.name: getattr(network.settings, entry.name)
        for entry in dataclasses.fields(defaults)
        if getattr(network.settings, entry.name) != getattr(defaults, entry.name)
    }
