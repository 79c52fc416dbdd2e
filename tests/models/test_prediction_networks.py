"""Video prediction and interpolation networks against their reference outputs, and their plain properties."""

import dataclasses

import numpy as np
import pytest
import torch
from reference_outputs import load

import flowzoo
from flowzoo.checkpoints import import_checkpoint
from flowzoo.errors import InputError

SVG = {
    "svg-lp-dcgan64": ("svg", {"architecture": "dcgan"}),
    "svg-lp-vgg64": ("svg", {}),
    "svg-lp-dcgan128": ("svg", {"architecture": "dcgan", "size": 128}),
    "svg-lp-vgg128": ("svg", {"size": 128}),
    "svg-prime": ("svg-prime", {"width": 1, "code": 128, "latent": 16, "recurrent": 32}),
}
FLAVR = {
    "flavr-2frame": {"inputs": 2},
    "flavr-2frame-odd": {"inputs": 2},
    "flavr-4frame": {},
    "flavr-4frame-3out": {"outputs": 3},
}


def imported(shared, fixture, name, **settings):
    arrays, state = load(shared, fixture)
    network = flowzoo.create(name, **settings)
    network.load_state_dict(import_checkpoint(name, state, **settings))
    return arrays, network


def as_frames(array, kind=torch.float32):
    """(...,H,W,3) uint8 -> (...,3,H,W) in [0,1]."""
    return torch.from_numpy(array).movedim(-1, -3).to(kind) / 255


def distance(found, wanted):
    return float(np.abs(found.detach().numpy() - wanted).max())


@pytest.mark.parametrize(("fixture", "width"), [("resnet-predictor", 64), ("resnet-predictor-32", 32)])
def test_predictor_steps_by_feeding_back(fixture, width, shared):
    arrays, network = imported(shared, fixture, "predictor", width=width)
    frames = as_frames(arrays["frames"])[None]
    with torch.inference_mode():
        made = network.extend(frames, 3 if width == 32 else 1).frames[0] * 2 - 1
        four = network(torch.cat([frames, frames[:, :1]], dim=1)).frames[0, 0] * 2 - 1
    for frame, key in zip(made, ("output", "output_step2", "output_step3"), strict=False):
        assert distance(frame, arrays[key]) < 1e-5
    assert distance(four, arrays["output_four_frames"].astype(np.float32)) < 1e-3  # stored in float16


def test_predictor_trains_as_the_paper_says(shared):
    arrays, network = imported(shared, "resnet-predictor-32", "predictor", width=32)
    network.double().train()
    frames = as_frames(arrays["train_frames"], torch.float64)
    made = network.extend(frames[:, :3], 3).frames
    # The authors' images are in [-1,1]: twice the difference.
    losses = [2 * (made[:, index] - frames[:, 3 + index]).abs().mean() for index in range(3)]
    assert [loss.item() for loss in losses] == pytest.approx(arrays["train_losses"].tolist(), abs=1e-7)
    torch.stack(losses).sum().backward()
    for key, parameter in (
        ("model.1.weight", network.begin[0].weight),
        ("model.2.weight", network.begin[1].weight),
        ("model.10.weight", network.reduce[2][0].weight),
        ("model.14.conv_block.6.weight", network.motion[1].second[1].weight),
        ("model.29.weight", network.enlarge[2][1].weight),
        ("model.33.weight", network.colours.weight),
    ):
        wanted = arrays[f"grad_sum_{key}"]
        found = parameter.grad.flatten()[:: max(1, parameter.numel() // 512)][:512]
        assert distance(found, wanted) < 1e-5 * np.abs(wanted).max()
    assert distance(network.begin[1].running_mean, arrays["running_mean_model.2"]) < 1e-4


def test_toy_generator(shared):
    arrays, network = imported(shared, "toy-generator", "toy-generator")
    noise = torch.from_numpy(arrays["input"])[None, None]
    with torch.inference_mode():
        assert distance(network(noise).frames[0, 0] * 2 - 1, arrays["output"]) < 1e-5
        assert distance(network.train()(noise).frames[0, 0] * 2 - 1, arrays["output_train"]) < 1e-4


@pytest.mark.parametrize("fixture", FLAVR)
def test_flavr(fixture, shared):
    arrays, network = imported(shared, fixture, "flavr", **FLAVR[fixture])
    count = network.settings.inputs
    frames = torch.stack([as_frames(arrays[f"image{index + 1}"]) for index in range(count)])[None]
    keys = ["output"] if network.settings.outputs == 1 else [f"output{n + 1}" for n in range(network.settings.outputs)]
    with torch.inference_mode():
        made = network(frames).frames[0]
    assert len(made) == len(keys)
    for frame, key in zip(made, keys, strict=True):
        assert distance(frame, arrays[key]) < (1e-3 if fixture == "flavr-4frame" else 1e-4)


@pytest.mark.parametrize("fixture", SVG)
def test_svg_training_pass(fixture, shared):
    name, settings = SVG[fixture]
    arrays, network = imported(shared, fixture, name, **settings)
    frames = as_frames(arrays["frames"])
    noise = list(torch.from_numpy(arrays["eps_posterior"]))
    with torch.no_grad():
        found = network.train().training_pass(frames, int(arrays["n_past"]), noise)
    steps = frames.shape[1] - 1
    error = sum((found.frames[:, step] - frames[:, step + 1]).square().mean().item() for step in range(steps))
    assert error == pytest.approx(float(arrays["mse"]), abs=1e-6)
    assert found.divergence.item() == pytest.approx(float(arrays["kld"]), rel=1e-4)
    assert found.details["skips_from"] == arrays["skip_from"].tolist()
    stride = frames.shape[-1] // 32
    for key, step in (("prediction_first", 0), ("prediction_last", -1)):
        assert distance(found.frames[:, step, :, ::stride, ::stride], arrays[key]) < 1e-4


@pytest.mark.parametrize("fixture", ["svg-lp-dcgan64", "svg-lp-vgg64", "svg-prime"])
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_svg_generates(fixture, mode, shared):
    name, settings = SVG[fixture]
    arrays, network = imported(shared, fixture, name, **settings, batch_statistics=mode == "train")
    # In float32 BatchNorm over two codes turns rounding into 1e-3.
    frames, past = as_frames(arrays["frames"], torch.float64), int(arrays["n_past"])
    before = {key: value.clone() for key, value in network.double().state_dict().items()}
    noise, posterior = (list(torch.from_numpy(arrays[key]).double()) for key in ("eps_prior", "eps_posterior"))
    with torch.inference_mode():
        made = network.extend(
            frames[:, :past], len(noise) - past, noise=noise[past - 1 :], posterior_noise=posterior
        ).frames
    assert distance(made[:, -1, :, ::2, ::2], arrays[f"generated_last_{mode}"]) < 2e-3
    if mode == "eval":
        assert distance(made[:, 0, :, ::2, ::2], arrays["generated_first_eval"]) < 1e-3
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_svg_gradients(shared):
    arrays, network = imported(shared, "svg-lp-dcgan64", "svg", architecture="dcgan")
    network.double().train()
    frames = as_frames(arrays["frames"], torch.float64)
    noise = list(torch.from_numpy(arrays["eps_posterior"]).double())
    found = network.training_pass(frames, int(arrays["n_past"]), noise)
    steps = range(frames.shape[1] - 1)
    error = torch.stack([(found.frames[:, step] - frames[:, step + 1]).square().mean() for step in steps]).sum()
    (error + float(arrays["beta"]) * found.divergence).backward()
    for key, parameter in (
        ("encoder.c1.main.0.weight", network.encoder.stages[0][0].weight),
        ("decoder.upc5.0.bias", network.decoder.end.bias),
        ("frame_predictor.embed.bias", network.frame_predictor.embed.bias),
        ("posterior.mu_net.bias", network.posterior.mean.bias),
        ("prior.logvar_net.bias", network.prior.log_variance.bias),
    ):
        wanted = arrays[f"grad_{key}"]
        found = parameter.grad.flatten()[:: max(1, parameter.numel() // 256)][:256]
        assert distance(found, wanted) < 1e-5 * np.abs(wanted).max()


def test_the_same_seed_draws_the_same_future():
    network = flowzoo.create("svg", architecture="dcgan")
    frames = torch.rand(1, 3, 3, 64, 64)
    with torch.inference_mode():
        draws = [network.extend(frames, 2, generator=torch.Generator().manual_seed(k)).frames for k in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_mistakes_are_one_line():
    svg = flowzoo.create("svg", architecture="dcgan")
    with pytest.raises(InputError, match="svg takes frames of 64x64 pixels, got 70x60"):
        svg(torch.rand(1, 2, 3, 60, 70))
    with pytest.raises(InputError, match="flavr takes 4 frames at a time, got 2"):
        flowzoo.create("flavr")(torch.rand(1, 2, 3, 16, 16))
    with pytest.raises(InputError, match="these are no weights of svg"):
        import_checkpoint("svg", {"x.weight": torch.zeros(3)})
    assert dataclasses.replace(svg.settings).size == 64
