"""Strict renaming: every tensor of a file is used or known to be superfluous, and none that is needed is absent."""

import re
from collections.abc import Callable, Iterable, Mapping

from torch import Tensor

from flowzoo.errors import InputError
from flowzoo.files.reading import shown

SHOWN = 4


class Renaming:
    """Moves tensors from a published state dict to ours and keeps account of both.

    Args:
        source: published names -> tensors; not changed.
        origin: whose names these are, for messages ("mmflow").
    """

    def __init__(self, source: Mapping[str, Tensor], origin: str) -> None:
        self.origin = origin
        self.result: dict[str, Tensor] = {}
        self._left = dict(source)
        self._missing: list[str] = []

    def has(self, theirs: str) -> bool:
        """Whether the file has this name and it has not been used yet."""
        return theirs in self._left

    def move(
        self,
        theirs: str,
        ours: str,
        change: Callable[[Tensor], Tensor] | None = None,
        default: Tensor | None = None,
    ) -> None:
        """Use `theirs` as `ours`, after `change`; if it is absent, `default`, or note it as missing."""
        value = self.take(theirs, required=default is None)
        if value is None:
            value = default
        elif change is not None:
            value = change(value)
        if value is not None:
            self.result[ours] = value

    def take(self, theirs: str, *, required: bool = True) -> Tensor | None:
        """The tensor `theirs`, which then counts as used; None if it is absent (noted if it is required)."""
        value = self._left.pop(theirs, None)
        if value is None and required:
            self._missing.append(theirs)
        return value

    def move_layer(self, theirs: str, ours: str, names: tuple[str, str] = (".weight", ".bias")) -> None:
        """Weight and bias of one layer; `names` are the endings on their side."""
        self.move(theirs + names[0], ours + ".weight")
        self.move(theirs + names[1], ours + ".bias")

    def drop(self, pattern: str) -> None:
        """Tensors whose whole name matches are known and of no use here."""
        for name in [name for name in self._left if re.fullmatch(pattern, name)]:
            del self._left[name]

    def finish(self) -> dict[str, Tensor]:
        """The renamed state dict.

        Raises:
            InputError: something is missing or left over; the first few are named.
        """
        problems = []
        if self._missing:
            problems.append(f"{len(self._missing)} missing ({shorten(self._missing)})")
        if self._left:
            problems.append(f"{len(self._left)} left over ({shorten(self._left)})")
        if problems:
            raise InputError(f"as {self.origin} weights, tensors are {' and '.join(problems)}")
        return self.result


def shorten(names: Iterable[str]) -> str:
    """The first few names, none of them long, and an ellipsis."""
    names = list(names)
    return ", ".join(map(shown, names[:SHOWN])) + (", ..." if len(names) > SHOWN else "")


def unknown_names(source: Iterable[str], known: str) -> InputError:
    """The error for a state dict whose names belong to nobody we know."""
    return InputError(f"its tensor names ({shorten(source)}) are none of {known}")
