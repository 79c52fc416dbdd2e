"""HD3 against reference outputs, and what the published code does around the network."""

import json
import sys

import numpy as np
import pytest
import torch

import flowzoo
from flowzoo import registry
from flowzoo.blocks.alignment import warp_features_border
from flowzoo.blocks.densities import read_density
from flowzoo.blocks.resize import resize_corners
from flowzoo.checkpoints.hd3 import rename
from flowzoo.errors import InputError
from flowzoo.losses.density import density_loss, density_losses
from flowzoo.models.hd3 import network_size

FIXTURES = ("hd3", "hd3-odd", "hd3-context", "hd3-context-odd")


@pytest.fixture(scope="module")
def reference(shared):
    """name -> (fixture, published state dict), kept while the tests of one fixture run."""
    sys.path.insert(0, str(shared / "parity"))
    from seeded import seeded_tensor

    kept = {}

    def get(name):
        if name not in kept:
            kept.clear()
            data = np.load(shared / "parity" / f"{name}.npz")
            rules = json.loads(str(data["rules"]))
            keys = json.loads(str(data["keys"]))
            kept[name] = data, {key: torch.from_numpy(seeded_tensor(key, shape, rules)) for key, shape, _ in keys}
        return kept[name]

    return get


def images(data):
    return [torch.from_numpy(data[f"image{i}"]).permute(2, 0, 1)[None].float() / 255 for i in (1, 2)]


def network_of(name, published, **settings):
    model = name.removesuffix("-odd")
    network = registry.build(model, **settings).eval()
    network.load_state_dict(flowzoo.import_checkpoint(model, published))
    return network


@pytest.mark.parametrize("name", FIXTURES)
def test_network_gives_the_reference_flow_levels_logits_and_confidence(name, reference):
    data, published = reference(name)
    network = network_of(name, published)
    with torch.inference_mode():
        prediction = network(*images(data))
    difference = np.abs(prediction.flow[0].numpy() - data["flow"])
    assert difference.mean() < 1e-4
    assert (difference > 0.05).mean() <= 1e-3
    details = prediction.details
    assert details["network_size"] == tuple(json.loads(str(data["protocol"]))["in_size"])
    for level in range(5):
        flow, logits = details["level_flows"][level][0], details["logits"][level][0]
        np.testing.assert_allclose(flow, data[f"flow_l{level}"], atol=1e-3)
        if level < 3:
            np.testing.assert_allclose(logits, data[f"logits_l{level}"], atol=1e-3)
        else:
            np.testing.assert_allclose(logits[:, logits.shape[1] // 2], data[f"logits_l{level}_row"], atol=1e-3)
    confidence = read_density(details["logits"][-1]).confidence
    np.testing.assert_allclose(confidence[0, 0], data["confidence_l4"], atol=1e-4)
    size = prediction.flow.shape[2:]
    torch.testing.assert_close(prediction.confidence, resize_corners(confidence, size))
    assert [tuple(level.shape[2:]) for level in prediction.pyramid] == [
        tuple(level.shape[2:]) for level in details["level_flows"]
    ]


@pytest.mark.parametrize(
    ("name", "stop"),
    [("hd3", False), ("hd3-odd", True), ("hd3-odd", False), ("hd3-context", True), ("hd3-context-odd", False)],
)
def test_losses_and_gradients_are_the_reference_ones(name, stop, reference):
    data, published = reference(name)
    network = network_of(name, published, stop_flow_gradient=stop)
    size = tuple(json.loads(str(data["protocol"]))["in_size"])
    # The ground truth belongs to images of the network's own size.
    prediction = network(*(resize_corners(image, size) for image in images(data)))
    dense = torch.from_numpy(data["gt_dense"]).float()[None]
    valid = torch.from_numpy(data["gt_valid"])[None]
    for losses, wanted in (
        (density_losses(prediction, dense), data["loss_dense"]),
        (density_losses(prediction, torch.where(valid[:, None], dense, torch.nan), valid), data["loss_sparse"]),
    ):
        np.testing.assert_allclose([float(level.values.detach().mean()) for level in losses], wanted[:5], rtol=1e-5)
    total = density_loss(prediction, dense)
    assert float(total.detach()) == pytest.approx(data["loss_dense"][5], rel=1e-5)
    total.backward()
    suffix = "_stop" if stop else ""
    parameters = dict(network.named_parameters())
    for key, norm in json.loads(str(data["grad_norms" + suffix])).items():
        assert float(parameters[rename(key)].grad.norm()) == pytest.approx(norm, rel=1e-3)
    gradient = parameters["levels.0.normalise.weight"].grad
    np.testing.assert_allclose(gradient, data["grad_cost_bn_0_weight" + suffix], rtol=1e-3, atol=1e-5)


def test_swapped_colours_are_noticed(reference):
    data, published = reference("hd3-odd")
    with torch.inference_mode():
        flow = network_of("hd3-odd", published)(*(image.flip(1) for image in images(data))).flow
    assert np.abs(flow[0].numpy() - data["flow"]).mean() > 0.05


@pytest.mark.parametrize("size", [(436, 1024), (375, 1242), (370, 1224), (64, 64), (65, 127), (150, 218), (480, 854)])
def test_network_size_has_the_nearest_ratio_of_four(size):
    height, width = size
    heights, widths = (np.array([length // 64, length // 64 + 1]) * 64 for length in size)
    error = np.abs(heights[:, None] / widths[None] - height / width)
    best = np.unravel_index(error.argmin(), error.shape)
    assert network_size(size) == (heights[best[0]], widths[best[1]])


def test_known_network_sizes():
    assert network_size((436, 1024)) == (448, 1024)
    assert network_size((375, 1242)) == (384, 1280)
    assert network_size((1, 1)) == (64, 64)


def test_parameters_of_variants():
    def count(**settings):
        return sum(parameter.numel() for parameter in registry.build("hd3", **settings).parameters())

    assert count(cost_range=8) == 43_799_975
    # Each decoder's node: a norm over 256 channels and a 1x1 layer of 256 by 128.
    assert 39_561_975 - count(decoder="resnet") == 5 * (2 * 256 + 256 * 128)


def test_parts_without_a_place_in_flow_are_the_only_ones_without_gradient():
    network = registry.build("hd3")
    prediction = network(*torch.rand(2, 1, 3, 64, 64))
    density_loss(prediction, torch.zeros(1, 2, 64, 64)).backward()
    unused = [(name, value.numel()) for name, value in network.named_parameters() if value.grad is None]
    assert (len(unused), sum(count for _, count in unused)) == (41, 147_328)
    starts = ("backbone.trees.1.project.", "backbone.trees.2.project.", "aggregate.stages.4.")
    assert all(name.startswith(starts) for name, _ in unused)


@pytest.mark.parametrize("size", [(1, 1), (3, 70), (130, 65)])
def test_extreme_sizes_are_finite_in_both_directions(size):
    network = flowzoo.create("hd3", flow_cues=True, cost_volume="sample")
    with torch.inference_mode():
        prediction = network(*torch.rand(2, 2, 3, *size))
    for maps in (prediction.flow, prediction.confidence, prediction.details["backward"]):
        assert maps.shape[0] == 2
        assert tuple(maps.shape[2:]) == size
        assert torch.isfinite(maps).all()
    assert 0 < prediction.confidence.min() <= prediction.confidence.max() <= 1


def test_both_directions_is_the_network_run_twice():
    torch.manual_seed(0)
    network = flowzoo.create("hd3", both_directions=True)
    alone = flowzoo.create("hd3")
    alone.load_state_dict(network.state_dict())
    first, second = torch.rand(2, 1, 3, 64, 128)
    with torch.inference_mode():
        both = network(first, second)
        forward, backward = alone(first, second), alone(second, first)
    torch.testing.assert_close(both.flow, forward.flow, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(both.details["backward"], backward.flow, atol=1e-3, rtol=1e-4)
    for level, expected in zip(both.details["backward_logits"], backward.details["logits"], strict=True):
        torch.testing.assert_close(level, expected, atol=1e-3, rtol=1e-3)


def test_folded_norms_change_nothing():
    network = flowzoo.create("hd3")
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 2)
    image = torch.rand(1, 3, 64, 128)
    with torch.no_grad():
        folded = network.backbone(image)
    plain = [level.detach() for level in network.backbone(image)]
    for level, expected in zip(folded, plain, strict=True):
        assert not torch.equal(level, expected)
        torch.testing.assert_close(level, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_a_training_step_works_where_a_norm_sees_one_value():
    network = registry.build("hd3").train()
    prediction = network(*torch.rand(2, 1, 3, 64, 64))
    density_loss(prediction, torch.zeros(1, 2, 64, 64)).backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_the_wrong_variant_and_settings_are_named(reference):
    _, published = reference("hd3-odd")
    with pytest.raises(InputError, match="hd3-context"):
        flowzoo.import_checkpoint("hd3-context", published)
    with pytest.raises(InputError, match="cost_range must be 1 to 16"):
        registry.build("hd3", cost_range=0)


def test_imagenet_weights_fill_the_backbone(reference):
    _, published = reference("hd3-odd")
    prefix = "module.hd3net.encoder.base."
    imagenet = {
        key.removeprefix(prefix): values
        for key, values in published.items()
        if key.startswith(prefix) and "level6" not in key and "num_batches" not in key
    }
    imagenet |= {"fc.weight": torch.zeros(1000, 512, 1, 1), "fc.bias": torch.zeros(1000)}
    filled = flowzoo.import_checkpoint("hd3", imagenet)
    torch.testing.assert_close(filled["backbone.stem.convolution.weight"], imagenet["base_layer.0.weight"])
    torch.testing.assert_close(filled["backbone.trees.3.root.norm.running_var"], imagenet["level5.root.bn.running_var"])
    assert torch.equal(
        filled["levels.0.decoder.classify.2.weight"],
        flowzoo.import_checkpoint("hd3", imagenet)["levels.0.decoder.classify.2.weight"],
    )
    with pytest.raises(InputError, match="level0"):
        flowzoo.import_checkpoint("hd3", imagenet | {"level0.0.weight": torch.zeros(3, 3)})


def test_half_precision_features_are_read_where_the_flow_leads():
    features, flow = torch.rand(1, 2, 8, 300), torch.full((1, 2, 8, 300), 0.5)
    flow[:, 1] = 0
    exact = warp_features_border(features, flow, 0.9999)
    half = warp_features_border(features.bfloat16(), flow, 0.9999)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), exact, atol=0.01, rtol=0)
