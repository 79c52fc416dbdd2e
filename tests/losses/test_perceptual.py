"""The VGG-19 loss against its reference outputs."""

import pytest
import torch
from reference_outputs import load

from flowzoo.errors import InputError
from flowzoo.losses.perceptual import PerceptualLoss


@pytest.mark.parametrize("case", [0, 1])
def test_values_and_gradients(case, shared):
    arrays, state = load(shared, "vgg19-perceptual")
    loss = PerceptualLoss(state).double()
    images = [
        ((torch.from_numpy(arrays[f"image{k}_{case}"]).permute(2, 0, 1)[None].double() / 255 - 0.5) / 0.5)
        for k in (1, 2)
    ]
    first, second = (image.requires_grad_() for image in images)
    value = loss(first, second)
    value.backward()
    assert value.item() == pytest.approx(float(arrays[f"perceptual_{case}"]), rel=1e-6)
    assert loss.layers(first, second).tolist() == pytest.approx(arrays[f"layers_weighted_{case}"].tolist(), rel=1e-6)
    for image, key in ((first, "grad_image1"), (second, "grad_image2")):
        wanted = torch.from_numpy(arrays[f"{key}_{case}"])
        assert (image.grad[0] - wanted).abs().max() < 1e-6 * wanted.abs().max()


def test_mistakes_are_one_line():
    with pytest.raises(InputError, match=r"features\.0\.weight is missing"):
        PerceptualLoss({})
    loss = PerceptualLoss()
    wrong = dict(loss.backbone.state_dict()) | {"features.2.bias": torch.zeros(3)}
    with pytest.raises(InputError, match=r"features\.2\.bias is \(3,\), wanted \(64,\)"):
        PerceptualLoss(wrong)
    with pytest.raises(InputError, match="at least 16 pixels"):
        loss(torch.zeros(1, 3, 15, 20), torch.zeros(1, 3, 15, 20))
