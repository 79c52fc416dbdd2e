"""Settings as data: frozen dataclasses, changed by keyword or by `--set key=value`, never silently ignored."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Callable
from typing import Any, Literal, TypeVar

from flowzoo.errors import InputError

T = TypeVar("T")


def suggestion(wrong: str, known: typing.Iterable[str]) -> str:
    """What a message says of a wrong name: the nearest known one, else a list of the known ones, cut if it is long."""
    names = sorted(known)
    near = difflib.get_close_matches(wrong, names, n=1, cutoff=0.5)
    if near:
        return f"did you mean {near[0]!r}?"
    text, listed = "known: ", 0
    while listed < len(names) and len(text) < 400:
        text += f"{', ' if listed else ''}{names[listed]}"
        listed += 1
    return text if listed == len(names) else f"{text} and {len(names) - listed} more"


def shown(value: Any) -> str:
    """A user's value for a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def field_types(settings: Any) -> dict[str, Any]:
    """Field name -> type of a settings dataclass (class or instance)."""
    owner = settings if isinstance(settings, type) else type(settings)
    hints = typing.get_type_hints(owner)
    return {entry.name: hints[entry.name] for entry in dataclasses.fields(owner)}


def flat(settings: Any) -> dict[str, Any]:
    """Name -> value of every setting; those of a part (a field that holds a settings dataclass) stand for the part."""
    found: dict[str, Any] = {}
    for entry in dataclasses.fields(settings):
        value = getattr(settings, entry.name)
        found |= flat(value) if dataclasses.is_dataclass(value) else {entry.name: value}
    return found


def replace(settings: T, owner: str, **changes: Any) -> T:
    """A copy of the frozen dataclass `settings` with `changes`, by the names of `flat`: they reach into its parts.

    Strings are converted to the field's type (so that the command line and Python share this one door); other values
    are checked against it. A class may keep the former names of its settings as `RENAMED`, former -> name.

    Raises:
        InputError: an unknown name (with the nearest known one), or a value the field does not take. `owner` is
            named in the message, for example "network liteflownet2".
    """
    known, renamed = flat(settings), getattr(settings, "RENAMED", {})
    changes = {renamed.get(name, name): value for name, value in changes.items()}
    for name in changes:
        if name not in known:
            raise InputError(f"{owner} has no setting {shown(name)}: {suggestion(name, known)}")
    kinds, converted = field_types(settings), {}
    for entry in dataclasses.fields(settings):  # type: ignore[arg-type]
        value = getattr(settings, entry.name)
        if dataclasses.is_dataclass(value):
            own = {name: changes[name] for name in flat(value) if name in changes}
            converted[entry.name] = replace(value, owner, **own) if own else value
        elif entry.name in changes:
            what = f"setting {entry.name!r} of {owner}"
            converted[entry.name] = convert(changes[entry.name], kinds[entry.name], what)
    return dataclasses.replace(settings, **converted)  # type: ignore[type-var]


def convert(value: Any, kind: Any, what: str) -> Any:
    """`value` as type `kind` (bool, int, float, str, Literal, Optional, tuple of those); strings are parsed.

    Raises:
        InputError: the value does not fit; the message names `what` and the values that would.
    """
    reader = _READERS.get(typing.get_origin(kind) or kind)
    return value if reader is None else reader(value, kind, what)


def _choice(value: Any, kind: Any, what: str) -> Any:
    choices = typing.get_args(kind)
    for choice in choices:
        if value == choice or (isinstance(value, str) and value == str(choice)):
            return choice
    raise InputError(f"{what} cannot be {shown(value)}: choose one of {', '.join(map(str, choices))}")


def _first_that_fits(value: Any, kind: Any, what: str) -> Any:
    """One of several types, tried in order; None where that is one of them."""
    *others, last = [entry for entry in typing.get_args(kind) if entry is not type(None)]
    if type(None) in typing.get_args(kind) and (value is None or (isinstance(value, str) and value.lower() == "none")):
        return None
    for entry in others:
        try:
            return convert(value, entry, what)
        except InputError:
            continue
    return convert(value, last, what)


def _values(value: Any, kind: Any, what: str) -> tuple[Any, ...]:
    """A tuple of fixed or, with an ellipsis, of any length."""
    parts = [p.strip() for p in value.strip("()[] ").split(",") if p.strip()] if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)):
        raise InputError(f"{what} cannot be {shown(value)}: give values separated by commas")
    kinds = typing.get_args(kind)
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(parts)
    if len(kinds) != len(parts):
        raise InputError(f"{what} takes {len(kinds)} values, got {len(parts)}")
    return tuple(convert(part, entry, what) for part, entry in zip(parts, kinds, strict=True))


def _switch(value: Any, kind: Any, what: str) -> bool:
    if isinstance(value, str) and value.lower() in _SWITCHES:
        return _SWITCHES[value.lower()]
    if isinstance(value, bool):
        return value
    raise InputError(f"{what} cannot be {shown(value)}: give true or false")


def _number(value: Any, kind: Any, what: str) -> float:
    try:
        number: float = kind(value)
        if not isinstance(value, bool) and (kind is float or isinstance(value, str) or number == value):
            return number
    except (TypeError, ValueError, OverflowError):
        pass
    raise InputError(f"{what} cannot be {shown(value)}: give {'a whole number' if kind is int else 'a number'}")


def _text(value: Any, kind: Any, what: str) -> str:
    if isinstance(value, str):
        return value
    raise InputError(f"{what} cannot be {shown(value)}: give a text")


_SWITCHES = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_READERS: dict[Any, Callable[[Any, Any, str], Any]] = {
    Literal: _choice,
    typing.Union: _first_that_fits,
    types.UnionType: _first_that_fits,
    tuple: _values,
    bool: _switch,
    int: _number,
    float: _number,
    str: _text,
}
"""By type, or by what a composed type is made of."""


def parse_settings(pairs: list[str]) -> dict[str, str]:
    """["a=1", "b=x"] -> {"a": "1", "b": "x"}.

    Raises:
        InputError: a word without "=".
    """
    settings = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise InputError(f"--set takes KEY=VALUE, got {pair!r}")
        settings[key.strip()] = value.strip()
    return settings
