"""Correspondence-wise losses against the authors' formulas (reference outputs), and their plain properties."""

import numpy as np
import pytest
import torch
from reference_outputs import load

from flowzoo.errors import InputError
from flowzoo.losses.correspondence import CorrespondenceLoss, warp_image
from flowzoo.losses.flow_magnitude import MagnitudePenalty
from flowzoo.losses.image import MeanOf, l1, l2
from flowzoo.losses.perceptual import PerceptualLoss

CASES = {
    "l1": {},
    "l1_pred_warped": {"symmetric": False},
    "l1_target_warped": {"symmetric": False, "warped": "target"},
    "l1_eps0.0": {"scaling": 0.0},
    "l1_eps0.05": {"scaling": 0.05},
    "l1_eps0.5": {"scaling": 0.5},
    "l1_eps1.0": {"scaling": 1.0},
    "l1_zeros": {"padding": "zeros"},
    "l1_border": {"padding": "border"},
    "mse": {"base": "l2"},
    "mse_l1": {"base": MeanOf([l2, l1])},
    "l1_magnitude": {"magnitude": MagnitudePenalty()},
    "l1_magnitude_norm2": {"magnitude": MagnitudePenalty(norm=2)},
    "l1_magnitude_only": {"magnitude": MagnitudePenalty(9.0, 0.0)},
    "l1_edge1": {"magnitude": MagnitudePenalty(6.5, 6.5, smoothness="edge-1")},
    "l1_edge2": {"magnitude": MagnitudePenalty(6.5, 6.5, smoothness="edge-2")},
    "l1_edge_penalty": {"magnitude": MagnitudePenalty(0.0, 0.0, leaving=0.3)},
}


@pytest.fixture(scope="module")
def wide(shared):
    arrays, state = load(shared, "corrwise-wide")
    return arrays, state


def inputs(arrays, kind=torch.float64):
    """Prediction and target in [-1,1], and both flows, all of which want gradients but the target."""
    images = [
        (torch.from_numpy(arrays[key]).permute(0, 3, 1, 2).to(kind) / 255 - 0.5) / 0.5 for key in ("image1", "image2")
    ]
    flows = [torch.from_numpy(arrays[key]).to(kind) for key in ("flow_target_to_pred", "flow_pred_to_target")]
    return images[0].requires_grad_(), images[1], tuple(flow.requires_grad_() for flow in flows)


def flat_places(image):
    """Where a Sobel derivative of an 8-bit image is exactly zero: there the edge weight has a kink, and rounding
    alone decides the sign of its gradient. (B,C,H,W) bool, with all pixels that such a derivative reads."""
    # Zero outside is zero in [-1,1]: 127.5, so everything is doubled.
    sides = ((0, 0), (0, 0), (1, 1), (1, 1))
    padded = np.pad(2 * image.astype(int).transpose(0, 3, 1, 2), sides, constant_values=255)
    across = padded[..., :-2] - padded[..., 2:]
    across = across[:, :, :-2] + 2 * across[:, :, 1:-1] + across[:, :, 2:]
    down = padded[:, :, :-2] - padded[:, :, 2:]
    down = down[..., :-2] + 2 * down[..., 1:-1] + down[..., 2:]
    zero = torch.from_numpy((across == 0) | (down == 0)).double()
    return torch.nn.functional.max_pool2d(zero, 3, 1, 1) > 0


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradients_are_the_authors(name, wide):
    arrays, _ = wide
    prediction, target, flows = inputs(arrays)
    loss = CorrespondenceLoss(**{"base": "l1", **CASES[name]})(prediction, target, flows)
    loss.backward()
    assert loss.item() == pytest.approx(float(arrays[f"loss_{name}"]), abs=1e-9)
    found = {f"grad_pred_{name}": prediction, f"grad_flow_target_to_pred_{name}": flows[0]}
    found[f"grad_flow_pred_to_target_{name}"] = flows[1]
    for key, tensor in found.items():
        if key in arrays:
            wanted = torch.from_numpy(arrays[key]).double()
            wrong = (tensor.grad - wanted).abs() > 1e-6 * wanted.abs().max()
            if "edge1" in name or "edge2" in name:
                wrong &= ~flat_places(arrays["image1"]) if "grad_pred" in key else wrong
            assert not wrong.any()


@pytest.mark.parametrize("name", ["l1", "l1_magnitude", "l1_edge1", "mse"])
def test_float32_agrees(name, wide):
    arrays, _ = wide
    loss = CorrespondenceLoss(**{"base": "l1", **CASES[name]})(*inputs(arrays, torch.float32))
    assert loss.item() == pytest.approx(float(arrays[f"loss_{name}"]), rel=1e-6)


def test_perceptual_bases(wide):
    arrays, state = wide
    prediction, target, flows = inputs(arrays)
    perceptual = PerceptualLoss(state).double()
    loss = CorrespondenceLoss(perceptual)(prediction, target, flows)
    loss.backward()
    assert loss.item() == pytest.approx(float(arrays["loss_perceptual"]), abs=1e-9)
    wanted = torch.from_numpy(arrays["grad_pred_perceptual"])
    assert (prediction.grad - wanted).abs().max() < 1e-6 * wanted.abs().max()
    mixed = MeanOf([l1, perceptual])
    edge = MagnitudePenalty(6.5, 6.5, smoothness="edge-1")
    for name, loss in (
        ("l1_perceptual", CorrespondenceLoss(mixed)),
        ("l1_perceptual_edge1", CorrespondenceLoss(mixed, scaling=0.0, magnitude=edge)),
    ):
        assert loss(prediction, target, flows).item() == pytest.approx(float(arrays[f"loss_{name}"]), abs=1e-9)


def test_terms_have_the_authors_names_and_add_up(wide):
    arrays, _ = wide
    loss = CorrespondenceLoss("l1", magnitude=MagnitudePenalty())
    terms = loss.terms(*inputs(arrays))
    assert set(terms) == {"prediction_warped", "target_warped", "magnitude", "smooth"}
    assert terms["magnitude"].item() == pytest.approx(float(arrays["term_magnitude_magnitude"]), abs=1e-9)
    assert terms["smooth"].item() == pytest.approx(float(arrays["term_gradient_magnitude"]), abs=1e-9)
    assert sum(term.item() for term in terms.values()) == pytest.approx(float(arrays["loss_l1_magnitude"]), abs=1e-9)


def test_warped_images(wide):
    arrays, _ = wide
    prediction, target, flows = inputs(arrays)
    for key, image, flow in (("warped_pred", prediction, flows[0]), ("warped_target", target, flows[1])):
        assert np.abs(warp_image(image, 0.9 * flow).detach().numpy() - arrays[key]).max() < 1e-6


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (7, 1)])
def test_images_with_sides_of_one_pixel(size):
    images = torch.rand(2, 3, *size)
    assert torch.allclose(warp_image(images, torch.zeros(2, 2, *size)), images, rtol=0, atol=1e-6)
    assert torch.isfinite(warp_image(images, torch.full((2, 2, *size), 3.7))).all()


def test_no_flow_and_full_scaling_are_twice_the_base_loss():
    prediction, target = torch.rand(2, 2, 3, 8, 9)
    flows = tuple(torch.randn(2, 2, 2, 8, 9) * 5)
    both = CorrespondenceLoss("l2", scaling=1.0)(prediction, target, flows)
    assert both.item() == pytest.approx(2 * l2(prediction, target).item(), rel=1e-6)
    still = tuple(torch.zeros(2, 2, 2, 8, 9))
    assert CorrespondenceLoss("l1", scaling=0.0)(target, target, still).item() < 1e-7


def test_flow_gets_no_gradient_unless_asked():
    prediction, target = torch.rand(2, 1, 3, 8, 9)
    flows = tuple(torch.rand(2, 1, 2, 8, 9).requires_grad_())
    loss = CorrespondenceLoss("l1")(prediction.requires_grad_(), target, flows)
    assert torch.autograd.grad(loss, flows[0], allow_unused=True, retain_graph=True) == (None,)
    loss = CorrespondenceLoss("l1", detach=False)(prediction, target, flows)
    assert torch.autograd.grad(loss, flows[0])[0].abs().sum() > 0


def test_mistakes_are_one_line():
    images = torch.rand(1, 3, 8, 8)
    for options, hint in (
        ({"base": "l3"}, "l3"),
        ({"base": "l1", "scaling": 2.0}, "scaling"),
        ({"base": "l1", "padding": "mirror"}, "padding"),
        ({"base": "l1", "image_range": (1.0, 0.0)}, "image_range"),
        ({"base": "l1", "magnitude": MagnitudePenalty(), "detach": True}, "detach"),
    ):
        with pytest.raises(InputError, match=hint):
            CorrespondenceLoss(**options)
    with pytest.raises(InputError, match="no flow network"):
        CorrespondenceLoss("l1")(images, images)
    with pytest.raises(InputError, match="both be"):
        CorrespondenceLoss("l1")(images, images[..., :7])
    with pytest.raises(InputError, match="flows must be"):
        CorrespondenceLoss("l1")(images, images, (torch.zeros(1, 2, 8, 7), torch.zeros(1, 2, 8, 8)))
