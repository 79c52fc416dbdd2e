"""LPIPS against its reference outputs."""

import numpy as np
import pytest
import torch
from reference_outputs import load
from safetensors.torch import save_file

from flowzoo.checkpoints.backbones import load_backbone, lpips_calibration
from flowzoo.errors import InputError
from flowzoo.metrics.lpips import Lpips


@pytest.fixture(scope="module")
def reference(shared):
    return load(shared, "lpips-alex")


def test_the_calibration_that_ships_is_version_0_1(reference):
    arrays, _ = reference
    for level in range(5):
        shipped = lpips_calibration()[f"lin{level}.model.1.weight"].flatten().numpy()
        assert np.array_equal(shipped, arrays[f"lin{level}"])


@pytest.mark.parametrize("case", [0, 1])
def test_values_maps_and_gradients(case, reference, tmp_path):
    arrays, state = reference
    save_file(state | {"classifier.6.bias": torch.zeros(3)}, tmp_path / "alexnet.safetensors")
    lpips = Lpips(load_backbone("alexnet", tmp_path / "alexnet.safetensors"), lpips_calibration())
    first, second = (
        ((torch.from_numpy(arrays[f"image{k}_{case}"]).permute(2, 0, 1)[None].float() / 255 - 0.5) / 0.5)
        for k in (1, 2)
    )
    value = lpips(first.requires_grad_(), second.requires_grad_())
    value.sum().backward()
    assert value.item() == pytest.approx(float(arrays[f"lpips_{case}"]), abs=1e-6)
    assert lpips.layers(first, second)[0].tolist() == pytest.approx(arrays[f"layers_{case}"].tolist(), abs=1e-6)
    spatial = lpips.spatial(first, second)[0, 0, ::2, ::2].detach().numpy()
    assert np.abs(spatial - arrays[f"spatial_{case}"]).max() < 1e-5
    for image, key in ((first, "grad_image1"), (second, "grad_image2")):
        wanted = torch.from_numpy(arrays[f"{key}_{case}"])
        assert (image.grad[0] - wanted).norm() < 1e-4 * wanted.norm()


def test_gradient_is_finite_where_all_features_are_zero(reference):
    _, state = reference
    dead = {name: value if name.endswith("weight") else torch.full_like(value, -1e6) for name, value in state.items()}
    lpips = Lpips(dead, lpips_calibration())
    first = torch.rand(1, 3, 64, 64, requires_grad=True)
    lpips(first, torch.rand(1, 3, 64, 64)).sum().backward()
    assert torch.isfinite(first.grad).all()


def test_mistakes_are_one_line(tmp_path, reference):
    _, state = reference
    with pytest.raises(InputError, match=r"no weights of alexnet at .*torchvision's are at https"):
        load_backbone("alexnet", tmp_path / "none.pth")
    save_file(state, tmp_path / "alexnet.safetensors")
    with pytest.raises(InputError, match=r"these are no weights of this image network"):
        load_backbone("vgg19", tmp_path / "alexnet.safetensors")
    with pytest.raises(InputError, match="no image network named 'vgg'"):
        load_backbone("vgg", tmp_path / "alexnet.safetensors")


def test_a_file_with_the_published_name_and_other_content_is_named(tmp_path, reference, caplog):
    _, state = reference
    for name, count in (("alexnet-owt-7be5be79.pth", 1), ("alexnet.pth", 0)):
        caplog.clear()
        save_file(state, tmp_path / name)
        load_backbone("alexnet", tmp_path / name)
        assert caplog.text.count("is not torchvision's file of this name") == count
