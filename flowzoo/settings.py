"""Settings as data: frozen dataclasses, changed by keyword or by `--set key=value`, never silently ignored."""

import dataclasses
import difflib
import types
import typing
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
    are checked against it.

    Raises:
        InputError: an unknown name (with the nearest known one), or a value the field does not take. `owner` is
            named in the message, for example "network liteflownet2".
    """
    known = flat(settings)
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
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        for choice in arguments:
            if value == choice or (isinstance(value, str) and value == str(choice)):
                return choice
        raise InputError(f"{what} cannot be {shown(value)}: choose one of {', '.join(map(str, arguments))}")
    if origin in (typing.Union, types.UnionType):
        if type(None) in arguments and (value is None or (isinstance(value, str) and value.lower() == "none")):
            return None
        options = [entry for entry in arguments if entry is not type(None)]
        for entry in options[:-1]:
            try:
                return convert(value, entry, what)
            except InputError:
                continue
        return convert(value, options[-1], what)
    if origin is tuple:
        parts = [p for p in value.strip("()[] ").split(",") if p.strip()] if isinstance(value, str) else value
        if not isinstance(parts, (list, tuple)):
            raise InputError(f"{what} cannot be {shown(value)}: give values separated by commas")
        kinds = [arguments[0]] * len(parts) if arguments[-1] is Ellipsis else list(arguments)
        if len(kinds) != len(parts):
            raise InputError(f"{what} takes {len(kinds)} values, got {len(parts)}")
        return tuple(
            convert(p.strip() if isinstance(p, str) else p, k, what) for p, k in zip(parts, kinds, strict=True)
        )
    if kind is bool:
        if isinstance(value, bool):
            return value
        words = {"true": True, "yes": True, "on": True, "1": True}
        words |= {"false": False, "no": False, "off": False, "0": False}
        if isinstance(value, str) and value.lower() in words:
            return words[value.lower()]
        raise InputError(f"{what} cannot be {shown(value)}: give true or false")
    if kind in (int, float):
        if not isinstance(value, bool):
            try:
                number = kind(value)
                if kind is float or isinstance(value, str) or number == value:
                    return number
            except (TypeError, ValueError, OverflowError):
                pass
        word = "a whole number" if kind is int else "a number"
        raise InputError(f"{what} cannot be {shown(value)}: give {word}")
    if kind is str:
        if isinstance(value, str):
            return value
        raise InputError(f"{what} cannot be {shown(value)}: give a text")
    return value


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
