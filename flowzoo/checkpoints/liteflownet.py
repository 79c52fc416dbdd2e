"""Published names of the LiteFlowNet family -> ours.

Known: sniklaus/pytorch-liteflownet, ptlflow (liteflownet, liteflownet2, liteflownet2_pseudoreg), mmflow (NetC, NetE),
and the official Caffe networks by layer name. What files do not hold gets the published networks' own values: the
images' means (`flowzoo.models.liteflownet.MEANS`), bilinear enlarging, scale 1 and bias 0 in the local filters.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flowzoo.blocks.upsampling import BilinearDoubling
from flowzoo.checkpoints.keymap import Renaming
from flowzoo.checkpoints.layouts import WORDS, Layout, modules_spelled_out, renamed
from flowzoo.models.liteflownet import MEANS, level_window
from flowzoo.zoo.liteflownet import COARSEST

if TYPE_CHECKING:
    from flowzoo.zoo.liteflownet import LiteFlowNetSettings

FEATURE_LAYERS = (1, 3, 2, 2, 1, 1)
"""Convolutions of NetC at levels 1..6."""


def convert(state: Mapping[str, Tensor], settings: "LiteFlowNetSettings") -> dict[str, Tensor]:
    """A published state dict as ours.

    Raises:
        InputError: its names are unknown, or do not match these settings.
    """
    if any(name.startswith("features.stages.") for name in state):
        return dict(state)
    layouts = (
        Layout("sniklaus", r"Features\.", _sniklaus, modules_spelled_out),
        Layout("ptlflow", r"^feature_net\.", _ptlflow),
        Layout("mmflow", r"^encoder\.layers\.", _mmflow),
        Layout("official Caffe", r"/0$", _caffe),
    )
    known = "the official (Caffe), sniklaus', ptlflow's or mmflow's LiteFlowNets"
    result = renamed(state, settings, layouts, known)
    _fill_in(result, settings)
    return result


def _levels(settings: "LiteFlowNetSettings") -> range:
    return range(COARSEST, settings.finest_level - 1, -1)


def _fill_in(result: dict[str, Tensor], settings: "LiteFlowNetSettings") -> None:
    """Buffers that no published file of this kind holds."""
    result.setdefault("means", torch.tensor(MEANS).view(2, 3, 1, 1))
    filters = [(f"levels.{level}.regularisation.filter", level) for level in _levels(settings)]
    if not settings.regularisation:
        filters = []
    if settings.pseudo_level:
        filters.append(("pseudo.filter", settings.finest_level - 1))
    for name, level in filters:
        result.setdefault(f"{name}.scale", torch.ones(2, level_window(level) ** 2))
        result.setdefault(f"{name}.bias", torch.zeros(2))
    shared = result.get("levels.2.projection.layer.weight")
    if shared is not None:
        result.setdefault("levels.2.projection.subpixel_weight_offset", torch.zeros_like(shared))
        result.setdefault("levels.2.projection.subpixel_bias_offset", torch.zeros(shared.shape[0]))


def _bilinear(channels: int) -> Tensor:
    """The fixed weights of a doubling, which some files leave out."""
    weight: Tensor = BilinearDoubling(channels).state_dict()["weight"]
    return weight


def _costs(settings: "LiteFlowNetSettings") -> int:
    return (2 * settings.cost_range + 1) ** 2


def _has_projection(settings: "LiteFlowNetSettings", level: int) -> bool:
    return level <= 4 and settings.regularisation_projection > 0


def _sniklaus(names: Renaming, settings: "LiteFlowNetSettings") -> Renaming:
    for stage, (word, count) in enumerate(zip(WORDS, FEATURE_LAYERS, strict=True)):
        for index in range(count):
            names.move_layer(f"moduleFeatures.module{word}.{2 * index}", f"features.stages.{stage}.{2 * index}")
    for level in _levels(settings):
        ours, index = f"levels.{level}", level - 2
        matching, subpixel = f"moduleMatching.{index}", f"moduleSubpixel.{index}"
        regularisation = f"moduleRegularization.{index}"
        if level == 2:
            names.move_layer(f"{matching}.moduleFeat.0", f"{ours}.projection.layer")
            for kind in ("weight", "bias"):
                _offset(names, f"{subpixel}.moduleFeat.0.{kind}", f"{ours}.projection", kind)
        if level < COARSEST:
            names.move(f"{matching}.moduleUpflow.weight", f"{ours}.enlarge_flow.weight")
        if level <= settings.sparse_level:
            names.move(f"{matching}.moduleUpcorr.weight", f"{ours}.matching.enlarge.weight")
        _stack(names, f"{matching}.moduleMain", f"{ours}.matching", len(settings.matching_channels))
        _stack(names, f"{subpixel}.moduleMain", f"{ours}.subpixel", len(settings.subpixel_channels))
        if _has_projection(settings, level):
            names.move_layer(f"{regularisation}.moduleFeat.0", f"{ours}.regularisation.project.0")
        for layer in range(len(settings.regularisation_channels)):
            names.move_layer(f"{regularisation}.moduleMain.{2 * layer}", f"{ours}.regularisation.layers.{2 * layer}")
        for layer in range(1 if level_window(level) <= 3 else 2):
            names.move_layer(f"{regularisation}.moduleDist.{layer}", f"{ours}.regularisation.distance.{layer}")
        _filter(
            names,
            [f"{regularisation}.moduleScale{axis}.weight" for axis in "XY"],
            [f"{regularisation}.moduleScale{axis}.bias" for axis in "XY"],
            f"{ours}.regularisation.filter",
        )
    return names


def _stack(names: Renaming, theirs: str, ours: str, hidden: int) -> None:
    """A sequence of convolutions with activations between them whose last one predicts the residual."""
    for layer in range(hidden):
        names.move_layer(f"{theirs}.{2 * layer}", f"{ours}.layers.{2 * layer}")
    names.move_layer(f"{theirs}.{2 * hidden}", f"{ours}.residual")


def _regularisation(
    names: Renaming, settings: "LiteFlowNetSettings", level: int, project: str, layers: list[str], distance: str
) -> None:
    """Their names of the projection, of the layers, and of the distance: one layer, or two behind each other."""
    ours = f"levels.{level}.regularisation"
    if _has_projection(settings, level):
        names.move_layer(project, f"{ours}.project.0")
    for index, theirs in enumerate(layers):
        names.move_layer(theirs, f"{ours}.layers.{2 * index}")
    if level_window(level) <= 3:
        names.move_layer(distance, f"{ours}.distance.0")
    else:
        for index in (0, 1):
            names.move_layer(f"{distance}.{index}", f"{ours}.distance.{index}")


def _offset(names: Renaming, theirs: str, ours: str, kind: str) -> None:
    """The second copy of the shared 1x1 layer, kept as its difference from the first."""
    first = names.result.get(f"{ours}.layer.{kind}")
    second = names.take(theirs)
    if first is not None and second is not None:
        # A copy of another shape stays what it is, to be refused by the comparison of shapes.
        names.result[f"{ours}.subpixel_{kind}_offset"] = second - first if first.shape == second.shape else second


def _filter(names: Renaming, weights: list[str], biases: list[str], ours: str) -> None:
    """The two 1x1 layers (x and y) that add up a filter window."""
    for theirs, name in ((weights, "scale"), (biases, "bias")):
        found = [value for value in map(names.take, theirs) if value is not None]
        if len(found) == len(theirs):
            joined = torch.cat([value.flatten() for value in found])
            # Sizes that differ between x and y are left for the comparison of shapes to refuse.
            even = name == "scale" and found[0].numel() == found[1].numel()
            names.result[f"{ours}.{name}"] = joined.view(2, -1) if even else joined


def _ptlflow(names: Renaming, settings: "LiteFlowNetSettings") -> Renaming:
    for stage, count in enumerate(FEATURE_LAYERS):
        for index in range(count):
            names.move_layer(f"feature_net.convs.{stage}.{2 * index}", f"features.stages.{stage}.{2 * index}")
    for index, level in enumerate(_levels(settings)):
        ours, matching, subpixel = f"levels.{level}", f"matching_nets.{index}", f"subpixel_nets.{index}"
        regularisation = f"regularization_nets.{index}"
        if level == 2:
            names.move_layer("feat2_conv.0", f"{ours}.projection.layer")
        if level < COARSEST:
            names.move(f"{matching}.up_flow.weight", f"{ours}.enlarge_flow.weight", default=_bilinear(2))
        if level <= settings.sparse_level:
            default = _bilinear(_costs(settings))
            names.move(f"{matching}.up_corr.weight", f"{ours}.matching.enlarge.weight", default=default)
        _stack(names, f"{matching}.flow_net", f"{ours}.matching", len(settings.matching_channels))
        hidden = len(settings.subpixel_channels)
        if names.has(f"{subpixel}.feat_net.0.weight"):
            for layer in range(hidden):
                names.move_layer(f"{subpixel}.feat_net.{2 * layer}", f"{ours}.subpixel.layers.{2 * layer}")
            names.move_layer(f"{subpixel}.flow_net", f"{ours}.subpixel.residual")
        else:
            _stack(names, f"{subpixel}.flow_net", f"{ours}.subpixel", hidden)
        layers = [f"{regularisation}.feat_net.{2 * layer}" for layer in range(len(settings.regularisation_channels))]
        _regularisation(names, settings, level, f"{regularisation}.feat_conv.0", layers, f"{regularisation}.dist")
    if settings.pseudo_level:
        names.move("pseudo_subpixel.up_flow.weight", "pseudo.enlarge_flow.weight", default=_bilinear(2))
        names.move_layer("pseudo_subpixel.flow_net.0", "pseudo.enlarge_subpixel")
        names.move_layer("pseudo_subpixel.flow_net.1", "pseudo.residual")
        names.move_layer("pseudo_regularization.feat_net.0", "pseudo.enlarge_regularisation")
        names.move_layer("pseudo_regularization.feat_net.1", "pseudo.distance.0")
        names.move_layer("pseudo_regularization.feat_net.2", "pseudo.distance.1")
    # ptlflow enlarges its output with a layer of its own; the official networks resize it.
    names.drop(r"up_flow\.weight")
    return names


def _mmflow(names: Renaming, settings: "LiteFlowNetSettings") -> Renaming:
    """mmflow's cost volumes are sums over channels, ours are means: the first layer that sees one takes the factor.

    This is exact, because leaky ReLU and the linear layers behind it commute with a positive factor. Its images lose
    one and the same mean.
    """
    for stage, count in enumerate(FEATURE_LAYERS):
        for index in range(count):
            names.move_layer(f"encoder.layers.{stage}.layers.{index}.conv", f"features.stages.{stage}.{2 * index}")
    for level in _levels(settings):
        ours, theirs = f"levels.{level}", f"decoder.decoders.level{level}"
        if level == 2:
            names.move_layer(f"{theirs}.feat_layer.conv", f"{ours}.projection.layer")
        if level < COARSEST:
            above = f"decoder.decoders.level{level + 1}"
            names.move(f"{above}.upflow_layer.weight", f"{ours}.enlarge_flow.weight", default=_bilinear(2))
        if level <= settings.sparse_level:
            default = _bilinear(_costs(settings))
            names.move(f"{theirs}.NetM.corr_up.weight", f"{ours}.matching.enlarge.weight", default=default)
        for part, own, hidden in (
            ("NetM", "matching", settings.matching_channels),
            ("NetS", "subpixel", settings.subpixel_channels),
        ):
            for layer in range(len(hidden)):
                names.move_layer(f"{theirs}.{part}.layers.{layer}.conv", f"{ours}.{own}.layers.{2 * layer}")
            names.move_layer(f"{theirs}.{part}.pred_flow", f"{ours}.{own}.residual")
        first = names.result.get(f"{ours}.matching.layers.0.weight")
        if first is not None:
            matched = settings.finest_projection if level == 2 else settings.feature_channels[level - 1]
            names.result[f"{ours}.matching.layers.0.weight"] = first * matched
        if not settings.regularisation:
            continue
        layers = [f"{theirs}.NetR.layers.{layer}.conv" for layer in range(len(settings.regularisation_channels))]
        _regularisation(names, settings, level, f"{theirs}.rfeat_layer.conv", layers, f"{theirs}.NetR.dist_layer")
    names.result["means"] = torch.tensor([MEANS[0], MEANS[0]]).view(2, 3, 1, 1)
    return names


_CAFFE_FEATURES = (
    ("conv1",),
    ("conv2_1", "conv2_2", "conv2_3"),
    ("conv3_1", "conv3_2"),
    ("conv4_1", "conv4_2"),
    ("conv5",),
    ("conv6",),
)
_BLOBS = ("/0", "/1")
_CAFFE_LAYER = r"conv\d(_\d)?|.*_L\d(to\d)?(_[xy])?"
"""Names of layers that belong to the network."""


def _caffe(names: Renaming, settings: "LiteFlowNetSettings") -> Renaming:
    """The official networks, as saved by a training network or by the deployed one, whose layer lists differ."""
    for stage, layers in enumerate(_CAFFE_FEATURES):
        for index, name in enumerate(layers):
            names.move_layer(name, f"features.stages.{stage}.{2 * index}", _BLOBS)
    for level in _levels(settings):
        ours, part = f"levels.{level}", f"L{level}"
        if level == 2:
            names.move_layer("F0_F1_64_L2", f"{ours}.projection.layer", _BLOBS)
        if level < COARSEST:
            _caffe_enlarging(names, f"scaled_flow_R_L{level + 1}to{level}", f"{ours}.enlarge_flow.weight", 2)
        if level <= settings.sparse_level:
            _caffe_enlarging(names, f"corr_{part}", f"{ours}.matching.enlarge.weight", _costs(settings))
        for step, own, hidden in (
            ("D1", "matching", settings.matching_channels),
            ("D2", "subpixel", settings.subpixel_channels),
        ):
            for layer in range(len(hidden)):
                names.move_layer(f"conv{layer + 1}_{step}_{part}", f"{ours}.{own}.layers.{2 * layer}", _BLOBS)
            last = f"scaled_flow_{step}_res_{part}"
            if step == "D1" and names.has(f"scaled_flow_D1_{part}/0"):
                last = f"scaled_flow_D1_{part}"
            names.move_layer(last, f"{ours}.{own}.residual", _BLOBS)
        if _has_projection(settings, level):
            names.move_layer(f"F0_128_{part}", f"{ours}.regularisation.project.0", _BLOBS)
        for layer in range(len(settings.regularisation_channels)):
            names.move_layer(f"conv{layer + 1}_R_{part}", f"{ours}.regularisation.layers.{2 * layer}", _BLOBS)
        distances = [f"dist_R_{part}"] if level_window(level) <= 3 else [f"distH_R_{part}", f"distW_R_{part}"]
        for layer, name in enumerate(distances):
            names.move_layer(name, f"{ours}.regularisation.distance.{layer}", _BLOBS)
        _caffe_filter(names, part, f"{ours}.regularisation.filter")
    if settings.pseudo_level:
        _caffe_enlarging(names, "scaled_flow_R_L3to2", "pseudo.enlarge_flow.weight", 2)
        for name, own in (
            ("conv5_D2_L2", "enlarge_subpixel"),
            ("scaled_flow_D2_res_L2", "residual"),
            ("conv6_R_L2", "enlarge_regularisation"),
            ("distH_R_L2", "distance.0"),
            ("distW_R_L2", "distance.1"),
        ):
            names.move_layer(name, f"pseudo.{own}", _BLOBS)
        _caffe_filter(names, "L2", "pseudo.filter")
    means = [names.take(f"img{image}s_aug/2", required=False) for image in (0, 1)]
    found = [value.flatten() for value in means if value is not None]
    if len(found) == len(means):
        joined = torch.cat(found)
        names.result["means"] = joined.view(2, 3, 1, 1) if joined.numel() == 6 else joined
    # Constants of the deployed network, enlarging in front of losses, and whatever is no part of NetC and NetE at all:
    # data layers (counters, per-pixel means), losses.
    names.drop(r"sum_exp_kernel_R_L\d/\d|scaled_flow_R_L\dto\d/0")
    names.drop(rf"(?!({_CAFFE_LAYER})/).*")
    return names


def _caffe_enlarging(names: Renaming, layer: str, ours: str, channels: int) -> None:
    names.move(f"{layer}/0", ours, default=_bilinear(channels))


def _caffe_filter(names: Renaming, part: str, ours: str) -> None:
    """Constant layers that add up a filter window: `scaled_flow_R_` in training, `scaled_flow0_R_` when deployed."""
    for stem in ("scaled_flow0_R", "scaled_flow_R"):
        if names.has(f"{stem}_{part}_x/0"):
            layers = [f"{stem}_{part}_{axis}" for axis in "xy"]
            _filter(names, [f"{layer}/0" for layer in layers], [f"{layer}/1" for layer in layers], ours)
