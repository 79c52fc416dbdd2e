"""Published files of every kind become networks that give the reference's flow, or a clear error."""

import json
from pathlib import Path

import numpy as np
import published_files as published
import publishers_names as names
import pytest
import torch

import flowzoo
from flowzoo import registry
from flowzoo.blocks import cost_volume
from flowzoo.checkpoints import describe, import_checkpoint, load_weights, model_of_weights, save_weights
from flowzoo.errors import InputError

MEANS = np.array([[0.411618, 0.434631, 0.454253], [0.410782, 0.433645, 0.452793]], "f4")


def renamed(state: dict, rule) -> dict:
    return {new: value for name, value in state.items() if (new := rule(name)) is not None}


def equal(first: dict, second: dict) -> bool:
    return list(first) == list(second) and all(torch.equal(first[name], second[name]) for name in first)


# ----------------------------------------------------------------- flow of the reference, through files


def test_liteflownet_from_a_pytorch_file(tmp_path: Path, seeded, flow_of) -> None:
    arrays, state = seeded("liteflownet")
    path = tmp_path / "network-default.pytorch"
    torch.save(state, path)
    network = flowzoo.create("liteflownet", weights=path)
    assert np.abs(flow_of(network, arrays) - arrays["flow"]).max() < 1e-3
    save_weights(network, tmp_path / "ours.safetensors", licence="test")
    again = flowzoo.create("liteflownet", weights=str(tmp_path / "ours.safetensors"))
    assert equal(network.state_dict(), again.state_dict())
    assert np.abs(flow_of(again, seeded("liteflownet-odd")[0]) - seeded("liteflownet-odd")[0]["flow"]).max() < 1e-3


def test_liteflownet2_from_the_official_archive(tmp_path: Path, shared: Path, seeded, flow_of) -> None:
    arrays, state = seeded("liteflownet2-sintel")
    listed = json.loads((shared / "parity" / "liteflownet2-sintel.caffemodel-layers.json").read_text())["layers"]
    layers = []
    for entry in listed:
        blobs = [state[name].numpy() for name in entry.get("torch", ())]
        if entry["name"] in ("img0s_aug", "img1s_aug"):
            mean = MEANS[int(entry["name"][3])].reshape(1, 3, 1, 1)
            blobs = [np.full((1, 1, 1, 1), 9, "f4"), np.zeros((1, 3, 4, 8), "f4"), mean]
        elif entry["blobs"] and not blobs:
            blobs = [np.full(shape, len(shape) > 1, "f4") for shape in entry["blobs"]]
        layers.append(published.layer(entry["name"], entry["type"], [published.blob(blob) for blob in blobs]))
    path = tmp_path / "LiteFlowNet2-ft-sintel.tar.gz"
    published.tar_gz(path, LiteFlowNet2__caffemodel=published.caffemodel(layers))
    network = flowzoo.create("liteflownet2", weights=path)
    assert np.abs(flow_of(network, arrays) - arrays["flow"]).max() < 1e-3
    assert equal(network.state_dict(), import_checkpoint("liteflownet2", state))


def test_liteflownet2_for_kitti_from_a_lightning_file(tmp_path: Path, seeded, flow_of) -> None:
    arrays, state = seeded("liteflownet2-kitti")
    torch.save({"state_dict": state, "hyper_parameters": {"div_flow": 20}}, tmp_path / "a.ckpt")
    network = flowzoo.create("liteflownet2-kitti", weights=tmp_path / "a.ckpt")
    assert np.abs(flow_of(network, arrays) - arrays["flow"]).max() < 1e-3


def test_pwcnet_from_an_old_tar_named_file(tmp_path: Path, seeded, flow_of) -> None:
    arrays, state = seeded("pwcnet")
    path = tmp_path / "pwc_net.pth.tar"
    wrapped = {"state_dict": {f"module.{name}": value for name, value in state.items()}, "epoch": 1}
    torch.save(wrapped, path, _use_new_zipfile_serialization=False)
    network = flowzoo.create("pwcnet", weights=path)
    assert np.abs(flow_of(network, arrays) - arrays["flow"]).max() < 1e-3
    found = describe(path)
    assert (found["format"], found["tensors"], found["parameters"]) == ("torch", 128, 9_374_340)
    assert found["models"] == ["pwcnet"]
    assert model_of_weights(path) == "pwcnet"


# ------------------------------------------------------- other publishers' names for the same numbers


@pytest.mark.parametrize("prefix", ["module", "net"])
def test_pwcnet_under_sniklaus_names(seeded, prefix: str) -> None:
    _, state = seeded("pwcnet")
    theirs = renamed(state, names.pwcnet_nvlabs_to_sniklaus)
    assert len(theirs) == 126
    found = import_checkpoint("pwcnet", {name.replace("module", prefix): value for name, value in theirs.items()})
    wanted = import_checkpoint("pwcnet", state)
    unused = [name for name in wanted if not torch.equal(found[name], wanted[name])]
    assert unused == ["levels.2.enlarge_flow.weight", "levels.2.enlarge_flow.bias"]
    assert not any(found[name].any() for name in unused)


def test_liteflownet_names_with_net_for_module(seeded) -> None:
    _, state = seeded("liteflownet")
    theirs = {name.replace("module", "net"): value for name, value in state.items()}
    assert equal(import_checkpoint("liteflownet", theirs), import_checkpoint("liteflownet", state))


def test_liteflownet_under_caffe_names(seeded) -> None:
    _, state = seeded("liteflownet")
    copies = [name for name in state if "Subpixel.0.moduleFeat" in name]
    tied = state | {name: state[name.replace("Subpixel", "Matching")] for name in copies}
    theirs = renamed(tied, names.liteflownet_sniklaus_to_caffe)
    assert equal(import_checkpoint("liteflownet", theirs), import_checkpoint("liteflownet", tied))
    own_means = theirs | {"img0s_aug/2": torch.full((1, 3, 1, 1), 0.25), "img1s_aug/2": torch.full((1, 3, 1, 1), 0.5)}
    own_means["some_loss/0"] = torch.zeros(3)
    means = import_checkpoint("liteflownet", own_means)["means"].flatten().tolist()
    assert means == [0.25] * 3 + [0.5] * 3


def test_liteflownet_under_ptlflow_names(seeded) -> None:
    _, state = seeded("liteflownet")
    theirs = renamed(state, names.liteflownet_sniklaus_to_ptlflow)
    assert sum(value.numel() for value in theirs.values()) == 5_379_613
    assert len(theirs) == 190
    found, wanted = import_checkpoint("liteflownet", theirs), import_checkpoint("liteflownet", state)
    differ = {name for name in wanted if not torch.equal(found[name], wanted[name])}
    assert {name.split(".")[-2] + "." + name.split(".")[-1] for name in differ} == {
        "filter.scale",
        "filter.bias",
        "projection.subpixel_weight_offset",
        "projection.subpixel_bias_offset",
    }
    network = flowzoo.create("liteflownet")
    fresh = network.state_dict()
    assert all(torch.equal(found[name], fresh[name]) for name in differ)


def test_second_copy_of_the_shared_layer_and_scales_are_kept(seeded) -> None:
    _, state = seeded("liteflownet")
    found = import_checkpoint("liteflownet", state)
    layer = "levels.2.projection"
    for kind in ("weight", "bias"):
        both = found[f"{layer}.layer.{kind}"] + found[f"{layer}.subpixel_{kind}_offset"]
        torch.testing.assert_close(both, state[f"moduleSubpixel.0.moduleFeat.0.{kind}"])
    scale = found["levels.4.regularisation.filter.scale"]
    assert torch.equal(scale[1], state["moduleRegularization.2.moduleScaleY.weight"].flatten())


# ------------------------------------------------------------- mmflow: sums over channels, not means


def summed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cost volumes as sums over channels, as in mmflow."""
    mean = cost_volume.correlation
    monkeypatch.setattr(cost_volume, "correlation", lambda first, *rest: mean(first, *rest) * first.shape[1])


@pytest.mark.parametrize(
    ("model", "reference", "rule"),
    [
        ("pwcnet", "pwcnet", names.pwcnet_nvlabs_to_mmflow),
        ("liteflownet2", "liteflownet2-sintel", names.liteflownet2_ptlflow_to_mmflow),
    ],
)
def test_mmflow_weights_give_the_flow_of_summed_cost_volumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seeded, flow_of, model: str, reference: str, rule
) -> None:
    arrays, state = seeded(reference)
    small = {key: arrays[key][:64, :64] for key in ("image1", "image2")}
    # Damped, so that sums in place of means do not blow the seeded network up.
    state = {
        name: value * (0.1 if value.dim() == 4 and value.shape[1] in (49, 81) else 1) for name, value in state.items()
    }
    theirs = renamed(state, rule)
    torch.save({"meta": {"epoch": 1}, "state_dict": theirs}, tmp_path / "a.pth")
    imported = load_weights(model, tmp_path / "a.pth")
    plain = flowzoo.create(model)
    plain.load_state_dict(import_checkpoint(model, state))
    if model == "liteflownet2":
        # mmflow takes one mean for both images.
        assert torch.equal(imported.means[0], imported.means[1])
        plain.means.copy_(imported.means)
    without_factor = flow_of(plain, small)
    flow = flow_of(imported, small)
    with monkeypatch.context() as patch:
        summed(patch)
        wanted = flow_of(plain, small)
    assert np.abs(wanted - without_factor).max() > 0.1
    assert np.abs(flow - wanted).max() < 1e-3 * max(1, np.abs(wanted).max())


@pytest.mark.parametrize(("levels", "regularisation"), [((6,), False), ((6,), True), ((6, 5), True)])
def test_mmflow_stages_are_networks_with_fewer_levels(seeded, levels: tuple[int, ...], regularisation: bool) -> None:
    _, state = seeded("liteflownet2-sintel")
    kept = {}
    for name, value in renamed(state, names.liteflownet2_ptlflow_to_mmflow).items():
        level = int(name.split("level")[1][0]) if "level" in name else 0
        if level and (level not in levels or ("NetR" in name and not regularisation)):
            continue
        if f"level{min(levels)}.upflow" not in name:
            kept[name] = value
    settings = {"finest_level": min(levels), "regularisation": regularisation}
    found = import_checkpoint("liteflownet2", kept, **settings)
    assert len(found) >= len(kept)
    with pytest.raises(InputError, match="missing"):
        import_checkpoint("liteflownet2", kept)


# ------------------------------------------------------------------------------------- what must not pass


def changed(state: dict, **changes) -> dict:
    out = dict(state)
    for name, value in changes.items():
        name = name.replace("__", ".")
        if value is None:
            del out[name]
        else:
            out[name] = value
    return out


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"conv3a__0__bias": None}, r"1 missing \(conv3a\.0\.bias\)"),
        ({"conv9z__0__bias": torch.zeros(1)}, r"1 left over \(conv9z\.0\.bias\)"),
        ({"conv3a__0__bias": None, "x": torch.zeros(1)}, r"1 missing .* and 1 left over"),
        ({"conv3a__0__bias": torch.zeros(65)}, r"shape differs .*\(65,\), wanted \(64,\)"),
        ({"deconv2__weight": None}, r"1 left over \(deconv2\.bias\)"),
        ({"conv2_0__0__weight": torch.full((128, 117, 3, 3), float("nan"))}, "NaN"),
    ],
)
def test_incomplete_or_foreign_tensors(seeded, changes: dict, hint: str) -> None:
    _, state = seeded("pwcnet")
    with pytest.raises(InputError, match=hint) as failure:
        import_checkpoint("pwcnet", changed(state, **changes))
    assert "pwcnet" in str(failure.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"moduleSubpixel__0__moduleFeat__0__weight": torch.zeros(64, 31, 1, 1)},
        {"moduleRegularization__1__moduleScaleX__weight": torch.zeros(1, 24, 1, 1)},
        {"moduleRegularization__1__moduleScaleY__bias": torch.zeros(2)},
        {"moduleMatching__1__moduleUpflow__weight": torch.zeros(2, 2, 4, 4)},
        {"moduleRegularization__1__moduleScaleX__bias": None},
    ],
)
def test_liteflownet_wrong_shapes_in_its_special_layers(seeded, changes: dict) -> None:
    _, state = seeded("liteflownet")
    with pytest.raises(InputError, match=r"shapes? differ|1 missing"):
        import_checkpoint("liteflownet", changed(state, **changes))


def test_the_callers_state_dict_is_left_alone(seeded) -> None:
    _, state = seeded("pwcnet")
    before = {name: value.clone() for name, value in state.items()}
    result = import_checkpoint("pwcnet", state)
    assert equal(state, before)
    assert all(value.dtype == torch.float32 for value in result.values())
    halves = import_checkpoint("pwcnet", {name: value.half() for name, value in state.items()})
    assert all(value.dtype == torch.float32 for value in halves.values())


def test_our_own_names_pass_through(seeded) -> None:
    ours = import_checkpoint("pwcnet", seeded("pwcnet")[1])
    assert equal(import_checkpoint("pwcnet", {"state_dict": ours}), ours)


def test_unknown_names_say_whose_are_known() -> None:
    with pytest.raises(InputError, match=r"x\.weight.*none of .*sniklaus"):
        import_checkpoint("liteflownet", {"x.weight": torch.zeros(1)})
    with pytest.raises(InputError, match="no tensors"):
        import_checkpoint("pwcnet", {"epoch": 3})


@pytest.mark.parametrize("name", [name for name, card in registry.cards().items() if card.checkpoint])
@pytest.mark.parametrize("state", [{"x.weight": torch.zeros(1)}, {"conv1/0": torch.zeros(2, 2)}, {"0": torch.zeros(1)}])
def test_every_converter_refuses_what_it_does_not_know(name: str, state: dict) -> None:
    with pytest.raises(InputError, match=f"no weights of {name}: "):
        import_checkpoint(name, state)


def test_caffe_files_of_pwcnet_say_why_they_do_not_fit() -> None:
    with pytest.raises(InputError, match=r"another network.*\.pth\.tar"):
        import_checkpoint("pwcnet", {"conv0_1_a/0": torch.zeros(16, 3, 3, 3), "conv0_1_a/1": torch.zeros(16)})


def test_weights_of_another_model_name_both(tmp_path: Path, seeded) -> None:
    _, state = seeded("pwcnet")
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"a\.pth holds weights of pwcnet, not of liteflownet2: use --model pwcnet"):
        load_weights("liteflownet2", tmp_path / "a.pth")
    save_weights(flowzoo.create("pwcnet"), tmp_path / "b.safetensors")
    with pytest.raises(InputError, match=r"b\.safetensors holds weights of pwcnet, not of pwcnet-paper"):
        load_weights("pwcnet-paper", tmp_path / "b.safetensors")
    assert model_of_weights(tmp_path / "b.safetensors") == "pwcnet"


def test_settings_travel_with_our_files(tmp_path: Path) -> None:
    network = flowzoo.create("pwcnet-paper", context=False, feature_channels=(8, 8, 8, 8, 8, 8))
    save_weights(network, tmp_path / "a.safetensors", trained_on=["x"])
    again = load_weights("pwcnet-paper", str(tmp_path / "a.safetensors"))
    assert again.settings == network.settings
    assert describe(tmp_path / "a.safetensors")["facts"] == {
        "model": "pwcnet-paper",
        "settings": {"context": False, "feature_channels": [8] * 6},
        "trained_on": ["x"],
    }
    asked = load_weights("pwcnet-paper", tmp_path / "a.safetensors", mask_threshold=0.5)
    assert asked.settings.mask_threshold == 0.5
    with pytest.raises(InputError, match=r"a\.safetensors: tensors are \d+ missing \(context"):
        load_weights("pwcnet-paper", tmp_path / "a.safetensors", context=True)


def test_filling_a_network_leaves_the_random_numbers_alone(tmp_path: Path) -> None:
    save_weights(flowzoo.create("pwcnet-paper", context=False), tmp_path / "a.safetensors")
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    load_weights("pwcnet-paper", tmp_path / "a.safetensors")
    assert torch.equal(torch.rand(3), wanted)
