"""Published names of RAFT -> ours.

Known: princeton-vl (also inside ptlflow's files) and torchvision. Both have one convolution for each gate of the
recurrent units; ours has the update and the reset gate in one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flowzoo.checkpoints.keymap import Renaming, unknown_names

if TYPE_CHECKING:
    from flowzoo.zoo.raft import RAFTSettings

STAGES, BLOCKS = 3, 2
_STATISTICS = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True)
class _Names:
    """How a publisher names the parts."""

    origin: str
    features: str
    context: str
    stem: str
    stem_norm: str
    project: str
    layer: str  # {0}: its number in a block, from 1
    norm: str
    motion: str
    costs: str
    flow: str
    join: str
    recurrence: str  # of one unit alone, and of several
    recurrences: str
    mask: tuple[str, str]


_PRINCETON = _Names(
    origin="princeton-vl",
    features="fnet",
    context="cnet",
    stem="conv1",
    stem_norm="norm1",
    project="conv2",
    layer="conv{0}",
    norm="norm{0}",
    motion="update_block.encoder",
    costs="convc{0}",
    flow="convf{0}",
    join="conv",
    recurrence="update_block.gru.conv{gate}",
    recurrences="update_block.gru.conv{gate}{unit}",
    mask=("update_block.mask.0", "update_block.mask.2"),
)
_TORCHVISION = _Names(
    origin="torchvision",
    features="feature_encoder",
    context="context_encoder",
    stem="convnormrelu.0",
    stem_norm="convnormrelu.1",
    project="conv",
    layer="convnormrelu{0}.0",
    norm="convnormrelu{0}.1",
    motion="update_block.motion_encoder",
    costs="convcorr{0}.0",
    flow="convflow{0}.0",
    join="conv.0",
    recurrence="update_block.recurrent_block.convgru1.conv{gate}",
    recurrences="update_block.recurrent_block.convgru{unit}.conv{gate}",
    mask=("mask_predictor.convrelu.0", "mask_predictor.conv"),
)
_HEAD = "update_block.flow_head.conv{0}"


def convert(state: Mapping[str, Tensor], settings: "RAFTSettings") -> dict[str, Tensor]:
    """A published state dict as ours.

    Raises:
        InputError: its names are unknown, or do not match these settings.
    """
    if any(name.startswith("update.recurrences.") for name in state):
        return dict(state)
    if any(name.startswith("fnet.") for name in state):
        theirs = _PRINCETON
    elif any(name.startswith("feature_encoder.") for name in state):
        theirs = _TORCHVISION
    else:
        raise unknown_names(state, "princeton-vl's, torchvision's or ptlflow's RAFTs")
    names = Renaming(state, theirs.origin)
    _move_encoder(names, theirs, "features", "instance", settings)
    _move_encoder(names, theirs, "context", settings.context_norm, settings)
    _move_update(names, theirs, settings)
    return names.finish()


def _move_encoder(names: Renaming, theirs: _Names, ours: str, norm: str, settings: "RAFTSettings") -> None:
    root = theirs.features if ours == "features" else theirs.context
    batch = norm == "batch"
    layers = 2 if settings.block == "residual" else 3
    names.move_layer(f"{root}.{theirs.stem}", f"{ours}.stem.convolution")
    names.move_layer(f"{root}.{theirs.project}", f"{ours}.project")
    if batch:
        _move_norm(names, f"{root}.{theirs.stem_norm}", f"{ours}.stem.norm")
    for index in range(STAGES * BLOCKS):
        block = f"{root}.layer{index // BLOCKS + 1}.{index % BLOCKS}"
        target = f"{ours}.blocks.{index}"
        for layer in range(layers):
            names.move_layer(f"{block}.{theirs.layer.format(layer + 1)}", f"{target}.layers.{layer}.convolution")
            if batch:
                _move_norm(names, f"{block}.{theirs.norm.format(layer + 1)}", f"{target}.layers.{layer}.norm")
        if index and index % BLOCKS == 0:
            names.move_layer(f"{block}.downsample.0", f"{target}.shortcut.convolution")
            if batch:
                _move_norm(names, f"{block}.downsample.1", f"{target}.shortcut.norm")
                # The same norm once more, under the name that the block itself has for it.
                names.drop(rf"{block}.norm{layers + 1}\.\w+")


def _move_norm(names: Renaming, theirs: str, ours: str) -> None:
    for kind in _STATISTICS:
        names.move(f"{theirs}.{kind}", f"{ours}.{kind}")
    counted = "num_batches_tracked"
    names.move(f"{theirs}.{counted}", f"{ours}.{counted}", default=torch.zeros((), dtype=torch.int64))


def _move_update(names: Renaming, theirs: _Names, settings: "RAFTSettings") -> None:
    for index in range(len(settings.cost_channels)):
        names.move_layer(f"{theirs.motion}.{theirs.costs.format(index + 1)}", f"update.motion.costs.{index}")
    for index in range(2):
        names.move_layer(f"{theirs.motion}.{theirs.flow.format(index + 1)}", f"update.motion.flow.{index}")
        names.move_layer(_HEAD.format(index + 1), f"update.head.{2 * index}")
    names.move_layer(f"{theirs.motion}.{theirs.join}", "update.motion.join")
    count = 2 if settings.recurrence == "separable" else 1
    pattern = theirs.recurrences if count > 1 else theirs.recurrence
    for index in range(count):
        unit, ours = index + 1, f"update.recurrences.{index}"
        for kind in ("weight", "bias"):
            parts = [names.take(f"{pattern.format(gate=gate, unit=unit)}.{kind}") for gate in "zr"]
            there = [part for part in parts if part is not None]
            if len(there) == 2 and there[0].shape == there[1].shape:
                names.result[f"{ours}.gates.{kind}"] = torch.cat(there)
        names.move_layer(pattern.format(gate="q", unit=unit), f"{ours}.candidate")
    if settings.upsampling == "convex":
        names.move_layer(theirs.mask[0], "upsampling.inside")
        names.move_layer(theirs.mask[1], "upsampling.weights")
