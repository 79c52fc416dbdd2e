"""Which publisher's names a file has: a converter lists the layouts that it knows, each with a mark in its names."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from flowzoo.checkpoints.keymap import Renaming, unknown_names


@dataclass(frozen=True)
class Layout:
    """One publisher's names.

    Attributes:
        origin: whose they are, for messages.
        mark: regular expression that is found in some name of such a file, and in none of the layouts behind it.
        move: takes the names and the network's settings, and moves every tensor.
        spelling: changes each name first, where a publisher has several spellings.
    """

    origin: str
    mark: str
    move: Callable[[Renaming, Any], Renaming]
    spelling: Callable[[str], str] = str


def renamed(state: Mapping[str, Tensor], settings: Any, layouts: Iterable[Layout], known: str) -> dict[str, Tensor]:
    """A published state dict as ours.

    Args:
        state: of the file.
        settings: of the network.
        layouts: the first whose mark is found is taken.
        known: all of them in words, for the message.

    Raises:
        InputError: its names are unknown, or do not match these settings.
    """
    for layout in layouts:
        if any(re.search(layout.mark, name) for name in state):
            spelled = {layout.spelling(name): value for name, value in state.items()}
            return layout.move(Renaming(spelled, layout.origin), settings).finish()
    raise unknown_names(state, known)


def modules_spelled_out(name: str) -> str:
    """sniklaus' networks have parts called moduleX in the files, and netX in the code that came later."""
    return re.sub(r"(^|\.)net(?=[A-Z])", r"\1module", name)


WORDS = ("One", "Two", "Thr", "Fou", "Fiv", "Six")
"""sniklaus' numbers 1 to 6."""
