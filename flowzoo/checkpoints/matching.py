"""Names that the published GLU-Nets and BaseNets share -> ours, and VGG-16's."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flowzoo import registry
from flowzoo.blocks.matching_decoders import GROWTH
from flowzoo.checkpoints.gocor import move_gocor
from flowzoo.checkpoints.keymap import Renaming, unknown_names
from flowzoo.errors import InputError

if TYPE_CHECKING:
    from flowzoo.network import ZooNetwork
    from flowzoo.zoo.glunet import MatchingSettings

CONTEXT_LAYERS = 7
_VGG_PLACES = (("0",), ("0",), ("0", "2"), ("0", "2", "4"), ("0", "2", "4"))
"""Of the convolutions in each level of their pyramid."""
_IMAGENET = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21)
"""Of the same convolutions in the usual list of VGG-16's layers."""


def vgg_in_place(network: "ZooNetwork", state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The whole state of `network` with the backbone of ImageNet's VGG-16 (`features.N.weight`) in it.

    Raises:
        InputError: a layer is missing or has another shape.
    """
    filled = network.state_dict()
    place = iter(_IMAGENET)
    for level, places in enumerate(_VGG_PLACES):
        for index in range(len(places)):
            number = next(place)
            for kind in ("weight", "bias"):
                ours, theirs = f"backbone.levels.{level}.{index}.{kind}", f"features.{number}.{kind}"
                if theirs not in state or state[theirs].shape != filled[ours].shape:
                    found = tuple(state[theirs].shape) if theirs in state else "absent"
                    raise InputError(
                        f"this is not a VGG-16: {theirs} should be {tuple(filled[ours].shape)}, is {found}"
                    )
                filled[ours] = state[theirs]
    return filled


@dataclass(frozen=True)
class Family:
    """What tells the published files of one network.

    Attributes:
        origin: whose names they are, for messages.
        network: "module:class".
        mark: a tensor that all of them have.
        known: which files are known, for messages.
        move: the names beyond those that the networks share.
        check: refuses what is no file of this network; raises InputError.
    """

    origin: str
    network: str
    mark: str
    known: str
    move: Callable[[Renaming], None]
    check: Callable[[Mapping[str, Tensor], Any], None] = lambda state, settings: None

    def convert(self, state: Mapping[str, Tensor], settings: "MatchingSettings") -> dict[str, Tensor]:
        """A published state dict as ours.

        A VGG-16 of ImageNet fills the backbone; all else then has a random start, drawn from a fixed seed.

        Raises:
            InputError: its names are unknown, or do not match these settings.
        """
        whole = complete(state, self.network, settings)
        if whole is not None:
            return whole
        names = published(state, self.origin)
        if not names.has(self.mark):
            raise unknown_names(state, f"{self.known}, nor VGG-16's")
        self.check(state, settings)
        move_common(names, settings)
        self.move(names)
        return names.finish()


def complete(state: Mapping[str, Tensor], network: str, settings: "MatchingSettings") -> dict[str, Tensor] | None:
    """The whole state of a network from a file in which no name has to be changed, or None.

    That is one with our names; or a VGG-16 of ImageNet, which fills the backbone: all else then has a random start,
    drawn from a fixed seed.

    Args:
        state: of the file.
        network: "module:class", built only where the file is a VGG-16.
        settings: of the network.
    """
    if any(name.startswith("backbone.levels.") for name in state):
        return dict(state)
    if "features.0.weight" not in state or any(name.startswith("decoder") for name in state):
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return vgg_in_place(registry.resolve(network)(settings), state)


def published(state: Mapping[str, Tensor], origin: str) -> Renaming:
    """The names without what wraps them."""
    return Renaming({re.sub(r"^(module\.|net\.)+", "", name): values for name, values in state.items()}, origin)


def move_common(names: Renaming, settings: "MatchingSettings") -> None:
    """Backbone, global and local matching, and the mapping decoder."""
    for level, places in enumerate(_VGG_PLACES):
        for index, place in enumerate(places):
            names.move_layer(f"pyramid.level_{level}.{place}", f"backbone.levels.{level}.{index}")
    ours = "global_matching.gocor"
    if settings.global_matching == "gocor":
        if settings.gocor_initialiser != "flexible-context":
            raise InputError(
                f"published weights have gocor_initialiser flexible-context, not {settings.gocor_initialiser}"
            )
        theirs = "corr.corr_module"
        move_gocor(names, theirs, ours, "flexible-context", query_loss=settings.gocor_query_loss)
    if settings.global_matching == "consensus":
        for index in range(3):
            names.move_layer(f"NeighConsensus.conv.{2 * index}", f"global_matching.consensus.layers.{index}")
    if settings.local_matching == "gocor":
        query_loss = settings.gocor_local_query_loss
        move_gocor(names, "local_corr", "local_matching.gocor", "simple", query_loss=query_loss)
    for index in range(len(GROWTH)):
        move_normed(names, f"decoder4.conv{index}", f"mapping.layers.{index}")
    names.move_layer("decoder4.final", "mapping.mapping")


def move_decoder(names: Renaming, theirs: str, ours: str) -> None:
    """A densely connected decoder."""
    for index in range(len(GROWTH)):
        move_normed(names, f"{theirs}.conv_{index}", f"{ours}.layers.{index}")
    names.move_layer(f"{theirs}.predict_flow", f"{ours}.flow")


def move_context(names: Renaming, theirs: str, ours: str) -> None:
    """A dilated context network; `theirs` is all before the layer's number."""
    for index in range(CONTEXT_LAYERS - 1):
        move_normed(names, f"{theirs}{index + 1}", f"{ours}.{index}")
    names.move_layer(f"{theirs}{CONTEXT_LAYERS}", f"{ours}.{CONTEXT_LAYERS - 1}")


def move_normed(names: Renaming, theirs: str, ours: str) -> None:
    """A convolution (0) and its batch norm (1); old files have no count of batches."""
    names.move_layer(f"{theirs}.0", f"{ours}.convolution")
    names.move_layer(f"{theirs}.1", f"{ours}.norm")
    names.move(f"{theirs}.1.running_mean", f"{ours}.norm.running_mean")
    names.move(f"{theirs}.1.running_var", f"{ours}.norm.running_var")
    count = torch.zeros((), dtype=torch.int64)
    names.move(f"{theirs}.1.num_batches_tracked", f"{ours}.norm.num_batches_tracked", default=count)
