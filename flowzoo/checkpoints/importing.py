"""From published tensors to a state dict of ours, with nothing missing and nothing left over."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from flowzoo import registry
from flowzoo.checkpoints.formats.nested import find_state_dict
from flowzoo.checkpoints.keymap import shorten
from flowzoo.errors import InputError, counted
from flowzoo.network import ZooNetwork


def import_checkpoint(name: str, state_dict: Mapping[str, Any], **settings: Any) -> dict[str, Tensor]:
    """See `flowzoo.checkpoints.import_checkpoint`."""
    return import_into(outline(name, **settings), state_dict)


def build_quietly(name: str, **settings: Any) -> ZooNetwork:
    """A network that is about to be filled: the global random numbers stay as they are."""
    with torch.random.fork_rng(devices=[]):
        return registry.build(name, **settings)


def outline(name: str, **settings: Any) -> ZooNetwork:
    """A network without values: names, shapes and types of what it needs."""
    with torch.device("meta"), _Unfilled():
        return registry.build(name, **settings)


class _Unfilled(TorchFunctionMode):
    """Leaves out filling with random numbers: for tensors without values torch would import its compiler for it."""

    FILLING = frozenset({"normal_", "uniform_", "kaiming_normal_", "kaiming_uniform_"})

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The tensor as it is, or what `func` gives."""
        if getattr(func, "__name__", "") in self.FILLING:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def import_into(network: ZooNetwork, state_dict: Mapping[str, Any]) -> dict[str, Tensor]:
    """The state dict that `network` loads strictly; the network is not changed.

    Raises:
        InputError: as for `import_checkpoint`.
    """
    name = network.model_name
    tensors = find_state_dict(state_dict).tensors
    if not tensors:
        raise InputError(f"these are no weights of {name}: there are no tensors in them")
    converter = registry.card(name).checkpoint
    try:
        if converter:
            tensors = registry.resolve(converter)(tensors, network.settings)
        return matched(network, tensors)
    except InputError as error:
        raise InputError(f"these are no weights of {name}: {error}") from error


def matched(network: ZooNetwork, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`tensors` in the network's order and types, after comparison with what it needs.

    Raises:
        InputError: a name is missing or left over, a shape differs, or a value is not finite.
    """
    wanted = network.state_dict()
    missing = [name for name in wanted if name not in tensors]
    left = [name for name in tensors if name not in wanted]
    if missing or left:
        problems = [f"{len(missing)} missing ({shorten(missing)})"] if missing else []
        problems += [f"{len(left)} left over ({shorten(left)})"] if left else []
        raise InputError(f"tensors are {' and '.join(problems)}")
    wrong = [name for name, value in wanted.items() if value.shape != tensors[name].shape]
    if wrong:
        first = wrong[0]
        raise InputError(
            f"{counted(len(wrong), 'shape', 'differ')} ({first} is {tuple(tensors[first].shape)}, "
            f"wanted {tuple(wanted[first].shape)})"
        )
    result = {name: tensors[name].to(device="cpu", dtype=value.dtype) for name, value in wanted.items()}
    broken = [name for name, value in result.items() if not torch.isfinite(value).all()]
    if broken:
        raise InputError(f"{counted(len(broken), 'tensor', 'hold')} NaN or infinity ({shorten(broken)})")
    return result


def models_that_fit(tensors: Mapping[str, Tensor]) -> list[str]:
    """Networks of the zoo, with the settings of their cards, that these tensors fill; the best ones.

    A converter may start parts that a file lacks from their defaults, so several networks can take one file: those to
    which the fewest numbers are added are meant.
    """
    added: dict[str, int] = {}
    given = sum(value.numel() for value in tensors.values())
    for name, card in registry.cards().items():
        if not card.checkpoint:
            continue
        try:
            # The names tell most networks apart; only those that are left are built and compared.
            renamed = registry.resolve(card.checkpoint)(dict(tensors), card.settings)
            filled = matched(outline(name), renamed)
        except InputError:
            continue
        added[name] = sum(value.numel() for value in filled.values()) - given
    return [name for name, count in added.items() if count == min(added.values())]
