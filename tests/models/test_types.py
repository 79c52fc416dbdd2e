"""What is handed to a network, or asked of one of another task: refused in one line that says what to do."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

import flowzoo
from flowzoo import creation, registry
from flowzoo.cli import main
from flowzoo.errors import InputError
from flowzoo.timing.networks import NetworkTask
from flowzoo.zoo.card import VERBS

PICTURE = np.zeros((20, 30, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("image", "advice"),
    [
        (PIL.Image.fromarray(PICTURE), r"convert\('RGB'\)"),
        ("frame.png", "flowzoo infer"),
        (Path("frame.png"), "flowzoo infer"),
        (PICTURE.tolist(), "numpy.asarray"),
        (torch.zeros(3, 20, 30), "permute"),
        (None, "NoneType"),
        (PICTURE.astype(np.float32), r"\* 255"),
        (PICTURE.astype(np.int32), "uint16"),
        (PICTURE[..., 0], "three channels"),
        (np.zeros((20, 30, 4), np.uint8), "fourth channel"),
        (PICTURE.transpose(2, 0, 1), "transpose"),
        (PICTURE[:0], "0x30x3"),
    ],
    ids=range(12),
)
def test_images_that_are_no_arrays_are_named_with_a_way_out(image, advice):
    network = flowzoo.create("spynet")
    for pair in ((image, PICTURE), (PICTURE, image)):
        with pytest.raises(InputError, match=advice) as error:
            flowzoo.estimate(network, *pair)
        assert "\n" not in str(error.value)
        assert "HxWx3 uint8 RGB" in str(error.value)


@pytest.mark.parametrize("network", [torch.nn.Conv2d(3, 2, 1), None, 3], ids=["module", "nothing", "number"])
def test_what_is_no_flow_network_is_named(network):
    with pytest.raises(InputError, match="flow network"):
        flowzoo.estimate(network, PICTURE, PICTURE)


@pytest.mark.parametrize("name", ["wren", "pwcnet"])
def test_tensors_of_another_type_than_the_weights_are_named(name):
    network = flowzoo.create(name)
    images = torch.rand(1, 3, 20, 30)
    for wrong in (images.double(), images.half(), images.bfloat16()):
        with pytest.raises(InputError, match=r"first is torch.* weights are torch.float32.*\.to\("):
            network(wrong, wrong)
    with pytest.raises(InputError, match=r"second is torch\.float64"):
        network(images, images.double())
    with pytest.raises(InputError, match="must be a tensor"):
        network(PICTURE, PICTURE)
    with pytest.raises(InputError, match="is on meta"):
        network(images.to("meta"), images.to("meta"))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert network(images.bfloat16(), images.bfloat16()).flow.isfinite().all()


OTHERS = [name for name, card in registry.cards().items() if card.task != "flow"]


@pytest.mark.parametrize("name", OTHERS)
def test_networks_of_another_task_are_sent_to_their_command(name):
    command = f"flowzoo {VERBS[registry.card(name).task]}"
    with pytest.raises(InputError, match=rf"{name} is a network for .*, not for flow: use {command}$"):
        creation.create_flow_network(name)
    with pytest.raises(InputError, match=command):
        flowzoo.estimate(name, PICTURE, PICTURE)
    with pytest.raises(InputError, match=command):
        NetworkTask(name, 32, 32, device="cpu").prepare()


def test_a_flow_network_is_no_network_for_frames():
    with pytest.raises(InputError, match=r"wren is a network for flow, .*: use flowzoo infer"):
        creation.create_video_network("wren")


def test_verbs_that_need_flow_name_the_right_command(tmp_path, capsys):
    for file in ("a.png", "b.png"):
        PIL.Image.fromarray(PICTURE).save(tmp_path / file)
    pair = [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    assert main(["infer", *pair, "-o", str(tmp_path / "out"), "--model", OTHERS[0], "--device", "cpu"]) == 2
    assert f"use flowzoo {VERBS[registry.card(OTHERS[0]).task]}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_import_checkpoint_takes_the_settings_of_create():
    source = registry.build("pwcnet", context=False)
    filled = flowzoo.import_checkpoint("pwcnet", source.state_dict(), context=False)
    registry.build("pwcnet", context=False).load_state_dict(filled)
    with pytest.raises(InputError, match="missing"):
        flowzoo.import_checkpoint("pwcnet", source.state_dict())
