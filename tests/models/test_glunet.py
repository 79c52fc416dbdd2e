"""GLU-Net, GLU-Net-GOCor and Semantic-GLU-Net against reference outputs, and what surrounds them."""

import numpy as np
import pytest
import torch
from reference_outputs import image_pair, load

import flowzoo
from flowzoo import registry
from flowzoo.blocks.strips import strip_pixels
from flowzoo.errors import InputError
from flowzoo.settings import replace

NAMES = ("glunet", "glunet-gocor", "semantic-glunet")


@pytest.fixture(scope="module")
def published(shared):
    """Name of a network -> that network with the reference's weights."""
    kept = {}

    def get(name):
        if name not in kept:
            network = registry.build(name)
            network.load_state_dict(flowzoo.import_checkpoint(name, load(shared, name)[1]))
            kept[name] = network.eval()
        network = kept[name]
        network.settings = registry.card(name).settings
        return network

    return get


def flow_of(network, arrays):
    with torch.inference_mode():
        return network(*image_pair(arrays))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("suffix", ["", "-odd", "-wide"])
def test_flow_is_the_references(shared, published, name, suffix):
    if suffix == "-wide" and name != "glunet":
        pytest.skip("this reference was made for glunet")
    arrays, _ = load(shared, name + suffix)
    prediction = flow_of(published(name), arrays)
    assert np.abs(prediction.flow[0].numpy() - arrays["flow"]).max() < 1e-3
    for level, key in enumerate(("flow4_256", "flow3_256", "flow2_eighth", "flow1_quarter")):
        if key in arrays:
            # The reference's levels are in pixels of the 256x256 image, here of the 256x192 one.
            wanted = arrays[key] * np.array([1, 192 / 256]).reshape(2, 1, 1)
            # The coarsest flow is 100 pixels long and more: float32 itself is uncertain by 1e-3 there.
            assert np.abs(prediction.pyramid[level][0].numpy() - wanted).max() < 5e-3


@pytest.mark.parametrize("name", NAMES)
def test_flipping_and_older_input_rounding(shared, published, name):
    arrays, _ = load(shared, name)
    network = published(name)
    network.settings = replace(network.settings, name, flipping=True)
    prediction = flow_of(network, arrays)
    assert prediction.details["mirrored"].tolist() == [bool(arrays["flipped"])]
    assert np.abs(prediction.flow[0, :, ::4, ::4].numpy() - arrays["flow_flipping_condition_s4"]).max() < 1e-3
    network.settings = replace(registry.card(name).settings, name, input_rounding="8-bit")
    key = "flow_gocor_repo_s4" if name == "glunet-gocor" else "flow_glunet_repo_s4"
    assert np.abs(flow_of(network, arrays).flow[0, :, ::4, ::4].numpy() - arrays[key]).max() < 1e-3


def test_mirrored_is_decided_for_each_pair_alone(shared, published):
    arrays, _ = load(shared, "glunet")
    network = published("glunet")
    network.settings = replace(network.settings, "glunet", flipping=True)
    first, second = image_pair(arrays)
    other = torch.rand_like(first)
    with torch.inference_mode():
        alone = [network(a, b) for a, b in ((first, second), (other, other))]
        together = network(torch.cat([first, other]), torch.cat([second, other]))
    wanted = torch.cat([part.details["mirrored"] for part in alone])
    assert torch.equal(together.details["mirrored"], wanted)
    assert (together.flow - torch.cat([part.flow for part in alone])).abs().max() < 1e-3


def test_number_of_refinement_passes():
    network = flowzoo.create("glunet")
    longer = flowzoo.create("glunet", refinement_size="longer-side")
    assert [network.refinement_passes((64, width)) for width in (256, 1080, 1088, 2168, 2176)] == [0, 0, 1, 1, 2]
    assert network.refinement_passes((2176, 512)) == 0
    assert longer.refinement_passes((2176, 512)) == 2


def test_images_of_two_sizes(shared, published):
    """A second image at twice the size changes what is read from it, not where it is found."""
    arrays, _ = load(shared, "glunet")
    first, second = image_pair(arrays)
    with torch.inference_mode():
        plain = published("glunet")(first, second).flow
        large = published("glunet")(first, second.repeat_interleave(2, 2).repeat_interleave(2, 3)).flow
    y, x = torch.meshgrid(torch.arange(192.0), torch.arange(256.0), indexing="ij")
    place = torch.stack([x, y])
    assert ((place + large + 0.5) / 2 - 0.5 - place - plain).abs().max() < 1e-3


def test_other_networks_weights_are_named(shared):
    _, state = load(shared, "glunet-gocor")
    with pytest.raises(InputError, match="use --model glunet-gocor"):
        flowzoo.import_checkpoint("glunet", state)


def test_training_starts_from_a_vgg_file():
    shapes = {0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128), 10: (256, 128), 12: (256, 256), 14: (256, 256)}
    shapes |= {17: (512, 256), 19: (512, 512), 21: (512, 512), 24: (512, 512)}
    file = {f"features.{place}.weight": torch.randn(*shape, 3, 3) for place, shape in shapes.items()}
    file |= {f"features.{place}.bias": torch.randn(shape[0]) for place, shape in shapes.items()}
    file["classifier.0.weight"] = torch.zeros(2, 2)
    filled = flowzoo.import_checkpoint("glunet", file)
    assert torch.equal(filled["backbone.levels.3.1.weight"], file["features.12.weight"])
    assert torch.equal(filled["backbone.levels.4.2.bias"], file["features.21.bias"])
    again = flowzoo.import_checkpoint("glunet", file)
    assert all(torch.equal(value, again[name]) for name, value in filled.items())
    file["features.7.weight"] = torch.zeros(128, 128, 5, 5)
    with pytest.raises(InputError, match="not a VGG-16"):
        flowzoo.import_checkpoint("glunet", file)


@pytest.mark.parametrize(
    ("setting", "value"), [("gocor_local_iterations", -1), ("gocor_smoothing", -0.1), ("refinement_size", "height")]
)
def test_wrong_settings_are_named(setting, value):
    with pytest.raises(InputError, match=setting):
        flowzoo.create("glunet-gocor", **{setting: value})


def test_features_of_a_real_pair_let_the_objective_fall(shared):
    """GOCor's objective on features of photographs, before anything is learned but a random backbone."""
    from flowzoo.blocks.filter_optimiser import FilterTrace
    from flowzoo.blocks.matching_geometry import prepare
    from flowzoo.blocks.matching_layers import unit_length
    from flowzoo.files.images import read_image

    folder = shared / "data/Middlebury/other-data/RubberWhale"
    network = flowzoo.create("glunet-gocor")
    images = [torch.from_numpy(read_image(folder / f"frame{n}.png").copy()) for n in (10, 11)]
    images = [prepare(image.permute(2, 0, 1)[None].float() / 255, (256, 256), "float") for image in images]
    with torch.inference_mode():
        levels = [network.backbone(image, (3, 4)) for image in images]
        for module, pair in (
            (network.global_matching.gocor, [unit_length(level[4]) for level in levels]),
            (network.local_matching.gocor, [level[3] for level in levels]),
        ):
            trace = FilterTrace()
            module.filter_map(*pair, iterations=7, trace=trace)
            total = torch.stack(trace.losses["total"])
            assert (total[1:] < total[:-1]).all()


def test_strips_of_rows_give_the_same_flow():
    network = flowzoo.create("glunet-gocor", gocor_local_iterations=1)
    images = torch.rand(2, 1, 3, 408, 40)
    with torch.inference_mode():
        whole = network(*images).flow
        with strip_pixels(600):
            found = network(*images).flow
    torch.testing.assert_close(found, whole, atol=1e-3, rtol=0)
