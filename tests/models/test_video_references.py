"""Networks that make frames: published state dicts give the reference's frames."""

import json

import numpy as np
import pytest
import torch
from reference_outputs import _seeded_tensor, load

import flowzoo
from flowzoo.errors import InputError


def imported(model, state, **settings):
    network = flowzoo.create(model, **settings)
    network.load_state_dict(flowzoo.import_checkpoint(model, state, **settings))
    return network


def frames_of(arrays):
    return torch.from_numpy(arrays["frames"]).permute(0, 3, 1, 2)[None].float() / 255


def difference(found, wanted):
    return np.abs(found.numpy() - wanted).max()


EDVR = [
    ("edvr-m", "edvr-m", {}, 3_300_131),
    ("edvr-m-7", "edvr-m", {"frames": 7}, 3_316_515),
    ("edvr-m-wotsa", "edvr-m", {"tsa": False}, 2_996_259),
    ("edvr-l", "edvr-l", {}, 20_633_827),
]


@pytest.mark.parametrize(("fixture", "model", "settings", "parameters"), EDVR)
def test_edvr_in_both_forms(fixture, model, settings, parameters, shared):
    arrays, state = load(shared, fixture)
    for form in ("deformable", "decomposed"):
        network = imported(model, state, alignment=form, **settings)
        assert sum(value.numel() for value in network.parameters()) == parameters
        network.inspected = True
        with torch.inference_mode():
            prediction = network(frames_of(arrays))
        assert prediction.frames.shape[:2] == (1, 1)
        assert difference(prediction.frames[0, 0], arrays["output"]) < 1e-4
        if "offset_l1" in arrays:
            # Stored in half precision: offsets of group 0, taps 0 and 3, as (dy, dx) one after the other.
            for level in ("l1", "l2", "l3"):
                found = torch.stack(
                    [entry[level][0, [0, 6, 12, 1, 7, 13, 143]] for entry in prediction.details["offsets"]]
                )
                wanted = arrays[f"offset_{level}"][:, :7].astype(np.float32)
                assert difference(found, wanted) < 1e-2 * np.abs(wanted).max()


def mmagic_name(name):
    """mmagic's name of a parameter of BasicSR's EDVR."""
    head, kind = name.rsplit(".", 1)
    parts = head.split(".")
    if parts[0] in ("conv_l2_1", "conv_l2_2", "conv_l3_1", "conv_l3_2"):
        return f"generator.feat_{parts[0][5:7]}_conv{parts[0][-1]}.conv.{kind}"
    if parts[0].startswith("upconv"):
        return f"generator.upsample{parts[0][-1]}.upsample_conv.{kind}"
    if parts[0] == "pcd_align":
        plain = "dcn" in head
        return f"generator.pcd_alignment.{'.'.join(parts[1:])}{'' if plain else '.conv'}.{kind}"
    if parts[0] == "fusion" and len(parts) > 1:
        plain = parts[1].startswith("temporal") or parts[1] in ("spatial_attn5", "spatial_attn_add2")
        return f"generator.{head}{'' if plain else '.conv'}.{kind}"
    return f"generator.{name}"


def test_edvr_under_mmagic_names(shared):
    _, state = load(shared, "edvr-m")
    theirs = {mmagic_name(name): value for name, value in state.items()} | {"step_counter": torch.zeros(1)}
    found, wanted = flowzoo.import_checkpoint("edvr-m", theirs), flowzoo.import_checkpoint("edvr-m", state)
    assert list(found) == list(wanted)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize(
    ("fixture", "words"), [("edvr-m-7", "--set frames=7"), ("edvr-m-wotsa", "--set tsa=false"), ("tdan", "EDVR")]
)
def test_a_file_of_another_edvr_says_which_settings_it_wants(fixture, words, shared):
    with pytest.raises(InputError, match=words):
        flowzoo.import_checkpoint("edvr-m", load(shared, fixture)[1])


@pytest.mark.parametrize(
    ("settings", "parameters"),
    [
        ({"predeblur": True}, 23_306_851),
        ({"predeblur": True, "hr_in": True}, 23_602_019),
        ({"tsa": False}, 19_419_875),
        ({"frames": 7}, 20_699_363),
    ],
)
def test_edvr_l_has_the_published_number_of_parameters(settings, parameters):
    from flowzoo import registry

    with torch.device("meta"):
        network = registry.build("edvr-l", **settings)
    assert sum(value.numel() for value in network.parameters()) == parameters


def test_four_more_offsets_cost_what_the_paper_says():
    from flowzoo import registry

    counts = {}
    for offsets in (1, 5):
        with torch.device("meta"):
            network = registry.build("edvr-m", groups=1, offsets=offsets, modulated=False)
        counts[offsets] = sum(value.numel() for value in network.parameters())
    assert counts[5] - counts[1] == 84_000


@pytest.mark.parametrize("fixture", ["tdan", "tdan-mmagic"])
@pytest.mark.parametrize("form", ["deformable", "decomposed"])
def test_tdan_from_either_publisher(fixture, form, shared):
    arrays, state = load(shared, fixture)
    with torch.inference_mode():
        prediction = imported("tdan", state, alignment=form)(frames_of(arrays))
    assert difference(prediction.frames[0, 0] - 0.5, arrays["output"]) < 1e-4
    assert difference(prediction.details["aligned"][0] - 0.5, arrays["aligned_lr"]) < 1e-4


def test_tdan_with_the_border_rule_of_the_authors_kernel(shared):
    arrays, state = load(shared, "tdan")
    with torch.inference_mode():
        prediction = imported("tdan", state, border="legacy")(frames_of(arrays))
    assert difference(prediction.frames[0, 0, :, ::2, ::2] - 0.5, arrays["output_legacy"]) < 1e-4
    assert difference(prediction.details["aligned"][0] - 0.5, arrays["aligned_lr_legacy"]) < 1e-4


@pytest.mark.parametrize(("order", "key"), [("temporal", "output"), ("official", "output_official_order")])
def test_toflow_in_both_orders(order, key, shared):
    arrays, state = load(shared, "toflow")
    with torch.inference_mode():
        prediction = imported("toflow", state, order=order)(frames_of(arrays))
    assert difference(prediction.frames[0, 0], arrays[key]) < 1e-4
    assert difference(prediction.details["flows"][0, :, :, ::2, ::2], arrays["flow"]) < 1e-3


def test_toflow_under_mmagic_names(shared):
    _, state = load(shared, "toflow")
    theirs = {}
    for name, value in state.items():
        parts = name.split(".")
        if parts[0] == "spynet":
            index, kind = int(parts[4]), parts[5]
            layer = f"{index // 3}.{'bn' if index % 3 else 'conv'}"
            name = f"generator.spynet.basic_module.{parts[2]}.basic_module.{layer}.{kind}"
        else:
            name = "generator." + name.replace("conv_", "conv")
        theirs[name] = value
    found, wanted = flowzoo.import_checkpoint("toflow", theirs), flowzoo.import_checkpoint("toflow", state)
    assert list(found) == list(wanted)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("flows", [1, 3])
def test_flow_based_network_with_several_flows(flows, shared):
    arrays = dict(np.load(shared / "parity" / "flow-vsr.npz"))
    rules, seeded = json.loads(str(arrays["rules"])), _seeded_tensor(shared)
    keys = json.loads(str(arrays[f"n{flows}_keys"]))
    state = {key: torch.from_numpy(seeded(key, shape, rules)) for key, shape, _ in keys}
    network = imported("flow-vsr", state, flows=flows)
    assert sum(value.numel() for value in network.parameters()) == arrays[f"n{flows}_parameters"]
    with torch.inference_mode():
        prediction = network(frames_of(arrays))
    assert difference(prediction.frames[0, 0, :, ::2, ::2], arrays[f"n{flows}_output"]) < 1e-4
    assert difference(prediction.details["flows"][0].flatten(0, 1)[..., ::2, ::2], arrays[f"n{flows}_flow"]) < 1e-3
    if flows == 3:
        with pytest.raises(InputError, match="--set flows=3"):
            flowzoo.import_checkpoint("flow-vsr", state)


def test_basicvsr_and_its_flows(shared):
    arrays, state = load(shared, "basicvsr")
    network = imported("basicvsr", state)
    with torch.inference_mode():
        prediction = network(frames_of(arrays))
    assert difference(prediction.frames[0, :, :, ::2, ::2], arrays["output"]) < 2e-4
    for direction in ("forward", "backward"):
        assert difference(prediction.details[f"flows_{direction}"][0], arrays[f"flow_{direction}"]) < 1e-3


def test_basicvsr_under_mmagic_names(shared):
    _, state = load(shared, "basicvsr")
    theirs = {}
    for name, value in state.items():
        parts = name.split(".")
        if parts[0] == "spynet":
            name = f"spynet.basic_module.{parts[2]}.basic_module.{int(parts[4]) // 2}.conv.{parts[5]}"
        name = name.replace("_trunk.", "_resblocks.").replace("upconv", "upsample")
        name = name.replace("upsample1.", "upsample1.upsample_conv.").replace("upsample2.", "upsample2.upsample_conv.")
        theirs[f"generator.{name}"] = value
    theirs["generator.spynet.mean"] = torch.zeros(1, 3, 1, 1)
    found, wanted = flowzoo.import_checkpoint("basicvsr", theirs), flowzoo.import_checkpoint("basicvsr", state)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_averaged_weights_are_the_ones_that_count(tmp_path, shared):
    _, state = load(shared, "tdan")
    averaged = {name: value + 1 for name, value in state.items()}
    torch.save({"params": state, "params_ema": averaged}, tmp_path / "tdan.pth")
    network = flowzoo.create("tdan", weights=tmp_path / "tdan.pth")
    assert torch.equal(network.conv_first.weight, averaged["conv_first.weight"])
