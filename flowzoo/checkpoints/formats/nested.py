"""Finding the state dict inside what a training script has saved."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowzoo.errors import InputError
from flowzoo.files.reading import shown

CONTAINERS = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "params_ema", "params")
"""Under these names scripts keep the weights that are meant to be used; the first that is there is taken."""
AVERAGED = (
    *("model_ema", "ema", "ema_state_dict", "state_dict_ema", "ema_model", "model_ema_state_dict"),
    *("ema_model_state_dict", "ema_weights"),
    *("ema_params", "averaged", "averaged_model", "swa_model", "swa_state_dict", "swa_model_state_dict"),
)
"""Under these, averages of the weights over the training; taken where there are none of the others."""
_PREFIXES = ("module.", "model.", "state_dict.", "network.", "net.", "_orig_mod.")
_NO_WEIGHTS = ("optim", "lr_sched", "scheduler", "scaler")
"""What these keep has the shapes of weights, and is none."""
_DEEPEST = 6
_MOST_MAPPINGS = 10_000
_LARGEST_FACT = 2**63


@dataclass(frozen=True)
class Found:
    """One state dict out of a file.

    Attributes:
        tensors: by name, prefixes of wrappers removed.
        facts: numbers and short texts beside them and above them.
        entry: where it was, as a path of keys: "model", "callbacks.ema"; "" for the file's top.
        others: further state dicts in the file.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    entry: str = ""
    others: tuple[str, ...] = ()


def find_state_dict(content: Any, entry: str | None = None, origin: str | Path = "the file") -> Found:
    """Take one state dict out of what a file holds.

    That is `entry`, or else what stands under a usual name ("state_dict", ...) at any depth, or else an average
    ("model_ema", ...), or else the tensors at the top, or else the only mapping with tensors in it.

    Args:
        content: what the file holds.
        entry: a path of keys; None: see above.
        origin: whose content it is, for messages.

    Raises:
        InputError: there is no such entry, or there are several that may be meant.
    """
    groups = dict(_groups(content))
    chosen = _choice(groups, entry, origin)
    facts: dict[str, Any] = {}
    for mapping in _along(content, chosen):
        facts |= plain_facts(mapping)
    tensors = {name: as_tensor(value) for name, value in groups.get(chosen, {}).items() if _is_named(name, value)}
    if len(tensors) > 1 and all(name == "n_averaged" or name.startswith("module.") for name in tensors):
        # torch.optim.swa_utils.AveragedModel: its count stands beside the averaged network.
        count = tensors.pop("n_averaged", None)
        facts |= {"n_averaged": int(count)} if count is not None and count.numel() == 1 else {}
    others = tuple(path for path in groups if path not in (chosen, ""))
    return Found(strip_prefixes(tensors), facts, chosen, others)


def _choice(groups: Mapping[str, Any], entry: str | None, origin: str | Path) -> str:
    """Which of the groups is meant; see `find_state_dict`."""
    if entry is not None:
        if entry not in groups:
            raise InputError(f"{origin} has no weights called {entry!r}: {_known(groups)}")
        return entry
    averages = [path for path in groups if any(part in AVERAGED for part in path.split("."))]
    raw = [path for path in groups if path.rpartition(".")[2] in CONTAINERS and path not in averages]
    if raw or averages:
        return (raw or averages)[0]
    if "" in groups or not groups:
        return ""
    if len(groups) > 1:
        raise InputError(f"{origin} has several sets of weights, {_known(groups)}: say which with --entry (entry=)")
    return next(iter(groups))


def _groups(content: Any) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """Path of keys -> mapping, for every one that holds tensors by name: the usual names first, the top last."""
    left = _MOST_MAPPINGS

    def below(mapping: Any, path: str, deepest: int) -> Iterator[tuple[str, Mapping[Any, Any]]]:
        nonlocal left
        left -= 1
        if not isinstance(mapping, Mapping) or not deepest or left < 0:
            return
        known = [name for name in (*CONTAINERS, *AVERAGED) if isinstance(mapping.get(name), Mapping)]
        others = [name for name, value in mapping.items() if isinstance(name, str) and isinstance(value, Mapping)]
        for name in (*known, *(name for name in others if name not in known)):
            if not name.startswith(_NO_WEIGHTS):
                yield from below(mapping[name], f"{path}.{name}".lstrip("."), deepest - 1)
        if any(_is_named(name, value) and (value.ndim or not path) for name, value in mapping.items()):
            yield path, mapping

    return below(content, "", _DEEPEST)


def _along(content: Any, path: str) -> Iterator[Mapping[Any, Any]]:
    """The mappings from the top to the one at `path`."""
    yield from ([content] if isinstance(content, Mapping) else [])
    while path:
        for name in content:
            if isinstance(name, str) and (path == name or path.startswith(f"{name}.")):
                content, path = content[name], path[len(name) + 1 :]
                break
        else:
            return
        if not isinstance(content, Mapping):
            return
        yield content


def _known(groups: Mapping[str, Any]) -> str:
    named = [path for path in groups if path]
    return f"it holds {shown(', '.join(named), 300)}" if named else "its tensors stand at its top"


def strip_prefixes(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names without the prefixes of wrappers (DataParallel's "module." and the like) that all of them share."""
    names = list(tensors)
    removed = 0
    while True:
        shared = [p for p in _PREFIXES if names and all(name.startswith(p, removed) for name in names)]
        if not shared:
            return {name[removed:]: value for name, value in tensors.items()}
        removed += len(shared[0])


def _is_named(name: Any, value: Any) -> bool:
    """Whether an item of a mapping counts as a parameter."""
    if not isinstance(name, str):
        return False
    return isinstance(value, Tensor) or (isinstance(value, np.ndarray) and value.dtype.kind in "fiub")


def as_tensor(value: Any) -> Tensor:
    """The parameter as a tensor on the CPU without gradient."""
    if isinstance(value, Tensor):
        return value.detach()
    native = value.dtype.newbyteorder("=")
    return torch.from_numpy(np.array(value, native, order="C"))


def plain_facts(content: Mapping[Any, Any]) -> dict[str, Any]:
    """The numbers and short texts beside the tensors: epoch, iteration, name of the network, ..."""
    facts: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, int) and abs(value) >= _LARGEST_FACT:
            continue
        if isinstance(value, (bool, int, float)) or (isinstance(value, str) and len(value) <= 200):
            facts[shown(str(key))] = value
    return facts
