"""Published names of PWC-Net -> ours.

Known: NVlabs' PyTorch files (also inside ptlflow's), sniklaus/pytorch-pwc, mmflow (PWCNetEncoder, PWCNetDecoder).
The layer that would enlarge the finest flow is never used; where a file leaves it out, it is zero.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flowzoo.checkpoints.keymap import Renaming
from flowzoo.checkpoints.layouts import WORDS, Layout, modules_spelled_out, renamed
from flowzoo.errors import InputError
from flowzoo.models.pwcnet import COARSEST, FINEST

if TYPE_CHECKING:
    from flowzoo.zoo.pwcnet import PWCNetSettings

_LEVELS = range(COARSEST, FINEST - 1, -1)
_UNUSED = f"levels.{FINEST}.enlarge_flow"
CONTEXT_LAYERS = 7


def convert(state: Mapping[str, Tensor], settings: "PWCNetSettings") -> dict[str, Tensor]:
    """A published state dict as ours.

    Raises:
        InputError: its names are unknown, or do not match these settings.
    """
    if any(name.startswith("features.stages.") for name in state):
        return dict(state)
    layouts = (
        Layout("sniklaus", r"Extractor\.", _sniklaus, modules_spelled_out),
        Layout("NVlabs", r"^conv1a\.", _nvlabs),
        Layout("mmflow", r"^encoder\.layers\.", _mmflow),
        Layout("official Caffe", r"^conv0_1_a/", _refuse_caffe),
    )
    result = renamed(state, settings, layouts, "NVlabs', sniklaus', ptlflow's or mmflow's PWC-Nets")
    result.setdefault(f"{_UNUSED}.weight", torch.zeros(2, 2, 4, 4))
    result.setdefault(f"{_UNUSED}.bias", torch.zeros(2))
    return result


def _refuse_caffe(names: Renaming, settings: "PWCNetSettings") -> Renaming:
    raise InputError(
        "PWC-Net's Caffe files are weights of another network than the PyTorch ones (no mask behind the warp, no "
        "activation behind one layer at level 6, images without their mean): use the NVlabs .pth.tar files"
    )


def _nvlabs(names: Renaming, settings: "PWCNetSettings") -> Renaming:
    for level in range(1, COARSEST + 1):
        order = "a aa b" if level < COARSEST else "aa a b"
        if settings.convolutions == 2:
            order = "a b"
        for index, letter in enumerate(order.split()):
            names.move_layer(f"conv{level}{letter}.0", f"features.stages.{level - 1}.{2 * index}")
    for level in _LEVELS:
        ours = f"levels.{level}"
        for index in range(len(settings.decoder_channels)):
            names.move_layer(f"conv{level}_{index}.0", f"{ours}.decoder.layers.{index}.0")
        names.move_layer(f"predict_flow{level}", f"{ours}.flow")
        if level > FINEST or names.has(f"deconv{level}.weight"):
            names.move_layer(f"deconv{level}", f"{ours}.enlarge_flow")
        if level > FINEST:
            names.move_layer(f"upfeat{level}", f"{ours}.enlarge_features")
    if settings.context:
        for index in range(CONTEXT_LAYERS):
            layer = f"dc_conv{index + 1}" + (".0" if index < CONTEXT_LAYERS - 1 else "")
            names.move_layer(layer, f"context.{2 * index}")
    return names


def _sniklaus(names: Renaming, settings: "PWCNetSettings") -> Renaming:
    for stage, word in enumerate(WORDS):
        for index in range(settings.convolutions):
            theirs = f"moduleExtractor.module{word}.{2 * index}"
            names.move_layer(theirs, f"features.stages.{stage}.{2 * index}")
    for level in _LEVELS:
        ours, theirs = f"levels.{level}", f"module{WORDS[level - 1]}"
        for index in range(len(settings.decoder_channels)):
            names.move_layer(f"{theirs}.module{WORDS[index]}.0", f"{ours}.decoder.layers.{index}.0")
        names.move_layer(f"{theirs}.moduleSix.0", f"{ours}.flow")
        if level > FINEST:
            # The layers that hand down belong to the finer level there, to the coarser one here.
            below = f"module{WORDS[level - 2]}"
            names.move_layer(f"{below}.moduleUpflow", f"{ours}.enlarge_flow")
            names.move_layer(f"{below}.moduleUpfeat", f"{ours}.enlarge_features")
    if settings.context:
        for index in range(CONTEXT_LAYERS):
            names.move_layer(f"moduleRefiner.moduleMain.{2 * index}", f"context.{2 * index}")
    return names


def _mmflow(names: Renaming, settings: "PWCNetSettings") -> Renaming:
    """mmflow's cost volumes are sums over channels, ours are means: every layer that sees one takes the factor.

    This is exact, because leaky ReLU commutes with a positive factor.
    """
    for stage in range(COARSEST):
        for index in range(settings.convolutions):
            theirs = f"encoder.layers.{stage}.layers.{index}.conv"
            names.move_layer(theirs, f"features.stages.{stage}.{2 * index}")
    for level in _LEVELS:
        ours, theirs = f"levels.{level}", f"decoder.decoders.level{level}"
        for index in range(len(settings.decoder_channels)):
            layer = f"{theirs}.dense_net.layers.{index}.layers.conv"
            names.move_layer(layer, f"{ours}.decoder.layers.{index}.0")
        names.move_layer(f"{theirs}.predict_layer", f"{ours}.flow")
        if level > FINEST:
            names.move_layer(f"{theirs}.upflow_layer", f"{ours}.enlarge_flow")
            names.move_layer(f"{theirs}.upfeat_layer", f"{ours}.enlarge_features")
    if settings.context:
        for index in range(CONTEXT_LAYERS):
            layer = f"decoder.post_processor.layers.{index}" + (".conv" if index < CONTEXT_LAYERS - 1 else "")
            names.move_layer(layer, f"context.{2 * index}")
    _fold_channel_counts(names.result, settings)
    return names


def _fold_channel_counts(result: dict[str, Tensor], settings: "PWCNetSettings") -> None:
    """Multiply what reads a level's cost volume by that level's number of feature channels, in place of the volume."""
    costs = (2 * settings.cost_range + 1) ** 2
    for level in _LEVELS:
        channels = settings.feature_channels[level - 1]
        in_front = 0
        readers = []
        for index, growth in enumerate(settings.decoder_channels):
            readers.append((f"levels.{level}.decoder.layers.{index}.0.weight", in_front, 1))
            in_front += growth if settings.dense_order[index] == "front" else 0
        readers.append((f"levels.{level}.flow.weight", in_front, 1))
        if level > FINEST:
            # A transposed convolution: its inputs are the first axis.
            readers.append((f"levels.{level}.enlarge_features.weight", in_front, 0))
        elif settings.context:
            readers.append(("context.0.weight", in_front, 1))
        for name, begin, axis in readers:
            # A tensor of another shape is left for the comparison of shapes to refuse.
            if name in result and result[name].dim() == 4 and result[name].shape[axis] >= begin + costs:
                result[name] = result[name].clone()
                result[name].narrow(axis, begin, costs).mul_(channels)
