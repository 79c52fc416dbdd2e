"""The correspondence-wise loss around flow networks, against the authors' code around the same networks."""

import numpy as np
import pytest
import torch
from reference_outputs import load

import flowzoo
from flowzoo.losses.correspondence import CorrespondenceLoss, warp_image
from flowzoo.losses.flow_magnitude import MagnitudePenalty

FLOWS = ("flow_target_to_pred", "flow_pred_to_target")


def network_of(name, state, **settings):
    network = flowzoo.create(name, **settings)
    network.load_state_dict(flowzoo.import_checkpoint(name, state))
    return network


def images_of(arrays, kind):
    """Prediction, which wants a gradient, and target, in [-1,1], rounded as the authors' are."""
    both = [
        (torch.from_numpy(arrays[key]).permute(0, 3, 1, 2).to(kind) / 255 - 0.5) / 0.5 for key in ("image1", "image2")
    ]
    return both[0].requires_grad_(), both[1]


def far(found, wanted, slack=0.0):
    """Norm of the difference beyond `slack` (a number for every value), of the norm of what is wanted."""
    wanted = torch.from_numpy(wanted).double()
    return float((((found.double() - wanted).abs() - slack).clamp(min=0)).norm() / wanted.norm())


def slopes_at_kinks(prediction, target, flows):
    """For each value of the prediction half the jump of the derivative there; 0 where there is a derivative.

    L1 has a kink where a warped and a true colour are equal, as in flat places: every slope between those on either
    side is a subgradient, and a millionth of a pixel of flow decides which one comes out. Colours are moved by weights
    that are not negative, so the jumps of all kinks that a value takes part in add up.
    """
    total = torch.zeros_like(prediction)
    for moved, reference, flow in ((prediction, target, flows[0]), (target, prediction, flows[1])):
        warped = warp_image(moved, 0.9 * flow)
        equal = (warped - reference).abs() < 1e-9
        (read,) = torch.autograd.grad((warped + reference)[equal].sum() / equal.numel(), prediction)
        total += read
    return total


@pytest.fixture(scope="module")
def pwcnet(shared):
    arrays, state = load(shared, "corrwise-pwcnet")
    return arrays, network_of("pwcnet", state)


OPTIONS = {"detached": {}, "undetached": {"detach": False}, "magnitude": {"magnitude": MagnitudePenalty(9.0, 4.5)}}


@pytest.mark.parametrize(("name", "kind"), [*((name, torch.float64) for name in OPTIONS), ("detached", torch.float32)])
def test_around_pwcnet(name, kind, pwcnet):
    arrays, network = pwcnet
    network.to(kind)
    prediction, target = images_of(arrays, kind)
    loss = CorrespondenceLoss("l1", network, **OPTIONS[name])(prediction, target)
    loss.backward()
    exact = kind == torch.float64
    flows = tuple(torch.from_numpy(arrays[key]).to(kind) for key in FLOWS)
    jumps = 2 * slopes_at_kinks(prediction, target, flows) if exact else torch.tensor(0.0)
    assert (jumps > 0).double().mean() < 3e-3
    assert loss.item() == pytest.approx(float(arrays[f"loss_{name}"]), abs=1e-6 if exact else 1e-5)
    assert far(prediction.grad, arrays[f"grad_pred_{name}"], jumps) < (1e-5 if exact else 3e-2)


def test_the_gradient_jumps_at_equal_colours(pwcnet):
    """By differences to either side, whose slopes enclose the reference's gradient; elsewhere both are the gradient."""
    arrays, _ = pwcnet
    prediction, target = images_of(arrays, torch.float64)
    flows = tuple(torch.from_numpy(arrays[key]).double() for key in FLOWS)
    halves = slopes_at_kinks(prediction, target, flows)
    loss = CorrespondenceLoss("l1")
    step = 1e-7
    with torch.no_grad():
        middle = loss(prediction, target, flows)
        kinks, smooth = halves.nonzero(), (halves == 0).nonzero()
        for place in (*kinks[:: len(kinks) // 8], *smooth[:: len(smooth) // 8]):
            moved = torch.zeros_like(prediction)
            moved[tuple(place)] = step
            left = (middle - loss(prediction - moved, target, flows)) / step
            right = (loss(prediction + moved, target, flows) - middle) / step
            wanted, half = float(arrays["grad_pred_detached"][tuple(place)]), float(halves[tuple(place)])
            assert float(right - left) == pytest.approx(2 * half, abs=1e-8)
            assert float(left) - 1e-8 < wanted < float(right) + 1e-8


def test_the_flow_of_pwcnet_given(pwcnet):
    arrays, _ = pwcnet
    prediction, target = images_of(arrays, torch.float64)
    flows = tuple(torch.from_numpy(arrays[key]).double() for key in FLOWS)
    loss = CorrespondenceLoss("l1")(prediction, target, flows)
    loss.backward()
    assert loss.item() == pytest.approx(float(arrays["loss_detached"]), abs=1e-9)
    assert far(prediction.grad, arrays["grad_pred_detached"]) < 1e-6


def test_flow_of_pwcnet(pwcnet):
    arrays, network = pwcnet
    network.double().eval()
    pair = [(image.detach() + 1) / 2 for image in images_of(arrays, torch.float64)]
    with torch.inference_mode():
        for key, (first, second) in zip(FLOWS, (pair[::-1], pair), strict=True):
            assert np.abs(network(first, second).flow.numpy() - arrays[key]).max() < 1e-3


@pytest.mark.parametrize(("mode", "batch_norm"), [("eval", "frozen"), ("train", "frozen"), ("train", "trained")])
def test_around_raft(mode, batch_norm, shared):
    """In training mode, too, which the authors left RAFT in: whatever the network does when it is trained itself."""
    arrays, state = load(shared, "corrwise-raft")
    network = network_of("raft", state, iterations=5, batch_norm=batch_norm)
    modes = [part.training for part in network.modules()]
    prediction, target = images_of(arrays, torch.float32)
    found = []
    network.register_forward_hook(lambda module, arguments, output: found.append(output.flow.detach()))
    loss = CorrespondenceLoss("l1", network, network_mode=mode)(prediction, target)
    loss.backward()
    assert loss.item() == pytest.approx(float(arrays[f"loss_{mode}"]), abs=1e-5)
    for key, flow in zip(FLOWS, found, strict=True):
        assert np.abs(flow[:, :, ::4, ::4].numpy() - arrays[f"{key}_{mode}"]).max() < 1e-3
    assert far(prediction.grad[:, :, ::2, ::2], arrays[f"grad_pred_{mode}"]) < 3e-2
    assert [part.training for part in network.modules()] == modes
    mean = network.context.stem.norm.running_mean
    if mode == "train":
        assert np.abs(mean.numpy() - arrays["running_mean_cnet_norm1"]).max() < 1e-5
