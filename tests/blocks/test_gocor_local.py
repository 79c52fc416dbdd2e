"""Local GOCor against reference outputs, and against its objective written out by brute force."""

import math

import pytest
import torch
import torch.nn.functional as F
from reference_outputs import load

from flowzoo.blocks.filter_optimiser import FilterTrace
from flowzoo.blocks.gocor import LocalGOCor
from flowzoo.checkpoints.gocor import move_gocor
from flowzoo.checkpoints.keymap import Renaming
from flowzoo.errors import InputError
from flowzoo.zoo.shared import GOCorSettings

TOLERANCE = 1e-9


def close(found, wanted, tolerance=TOLERANCE):
    wanted = torch.as_tensor(wanted)
    return (found - wanted).abs().max() <= tolerance * wanted.abs().max()


def published_module(state, *, query_loss):
    names = Renaming(state, "reference")
    move_gocor(names, "local_corr", "m", "simple", query_loss=query_loss)
    module = LocalGOCor(4, GOCorSettings(query_loss=query_loss))
    module.load_state_dict({name.removeprefix("m."): value for name, value in names.result.items()})
    return module.double().eval()


def features(arrays):
    return [torch.from_numpy(arrays[name]).double() for name in ("reference", "query")]


@pytest.mark.parametrize(("prefix", "query_loss", "iterations"), [("", False, 7), ("lq_", True, 3)])
def test_filters_steps_losses_and_scores_are_the_references(shared, prefix, query_loss, iterations):
    arrays, state = load(shared, "gocor-local")
    reference, query = features(arrays)
    module = published_module(state, query_loss=query_loss)
    module.iterations = iterations
    trace = FilterTrace()
    with torch.no_grad():
        module.filter_map(reference, query, trace=trace)
        scores = module(reference, query)
    assert close(torch.stack(trace.filters), arrays[f"{prefix}w"])
    assert close(torch.stack(trace.steps), arrays[f"{prefix}alpha"])
    assert close(scores, arrays[f"{prefix}scores"])
    for ours, theirs in (("reference", "reference"), ("regularisation", "reg"), ("total", "total"), ("query", "query")):
        if theirs != "query" or query_loss:
            assert close(torch.stack(trace.losses[ours]), arrays[f"{prefix}loss_{theirs}"])


def test_a_new_module_is_what_the_published_one_starts_from(shared):
    arrays, _ = load(shared, "gocor-local")
    module = LocalGOCor(4, GOCorSettings(iterations=3))
    learned = module.optimiser
    for found, name in (
        (learned.profiles.target, "label"),
        (learned.profiles.weight, "v_plus"),
        (learned.profiles.mask_logits, "mask_logits"),
        (learned.log_step_length, "log_step"),
        (learned.regularisation, "filter_reg"),
        (module.initialiser.scaling, "scaling"),
    ):
        assert torch.allclose(found, torch.from_numpy(arrays[f"init_{name}"]), atol=1e-7)
    trace = FilterTrace()
    with torch.no_grad():
        module.double().filter_map(*features(arrays), iterations=7, trace=trace)
    # Its start was made in float32.
    assert close(torch.stack(trace.filters[:4]), arrays["init_w"], 1e-6)
    assert close(torch.stack(trace.losses["total"]), arrays["init_loss_total"], 1e-6)


def test_zero_start(shared):
    arrays, _ = load(shared, "gocor-local")
    trace = FilterTrace()
    with torch.no_grad():
        LocalGOCor(4, GOCorSettings(initialiser="zero")).double().filter_map(*features(arrays), trace=trace)
    assert close(trace.filters[-1], arrays["zero_w3"], 1e-6)
    assert close(torch.stack(trace.losses["total"]), arrays["zero_loss_total"], 1e-6)


def unfolded(first, second, radius):
    """Mean products with all neighbours, by unfolding."""
    side = 2 * radius + 1
    windows = F.unfold(second, side, padding=radius).view(*first.shape[:2], side**2, *first.shape[2:])
    return (first.unsqueeze(2) * windows).mean(dim=1)


def residuals(module, filters, reference):
    """v+ sigma(c) - y of equation 5 and lambda w / C, straight from the definitions."""
    radius = module.radius
    scores = unfolded(filters, reference, radius)
    steps = torch.arange(-radius, radius + 1.0, dtype=torch.float64)
    distance = (steps.view(-1, 1) ** 2 + steps**2).sqrt().flatten()
    below = (distance * 2).floor().clamp(max=8).long()
    share = ((distance * 2) - below).clamp(max=1)
    profiles = module.optimiser.profiles

    def at(values):
        return (values[below] * (1 - share) + values[below + 1] * share).view(1, -1, 1, 1)

    positive = at(profiles.weight)
    negative = positive * torch.sigmoid(at(profiles.mask_logits))
    target = positive * at(profiles.target)
    robust = torch.where(scores > 0, positive * scores, negative * scores) - target
    return robust, module.optimiser.regularisation / reference.shape[1] * filters


@pytest.mark.parametrize("radius", [4, 3, 1])
def test_a_step_is_down_the_gradient_to_the_gauss_newton_minimum(radius):
    module = LocalGOCor(radius).double()
    with torch.no_grad():
        module.optimiser.log_step_length.fill_(0.3)
        for parameter in module.optimiser.profiles.parameters():
            parameter.add_(0.1 * torch.randn(10))
    reference = torch.randn(2, 5, 6, 7, dtype=torch.float64)
    start = module.initialiser(reference).detach().requires_grad_()

    def objective(filters):
        return sum(part.square().sum() for part in residuals(module, filters, reference)) / 2

    gradient = torch.autograd.grad(objective(start), start)[0]
    directional = torch.func.jvp(lambda w: residuals(module, w, reference), (start,), (gradient,))[1]
    curvature = sum(part.square().sum(dim=1, keepdim=True) for part in directional)
    wanted = gradient.square().sum(dim=1, keepdim=True) / curvature
    trace = FilterTrace()
    with torch.no_grad():
        after = module.filter_map(reference, reference, iterations=1, trace=trace)
    assert torch.allclose(trace.steps[0], wanted, rtol=1e-10)
    assert torch.allclose(after, start - math.exp(0.3) * wanted * gradient, rtol=1e-9)


def test_gradients_of_training_equal_those_of_the_unrolled_definition():
    """The tracked scores and the custom operators change nothing for the outer gradient."""
    module = LocalGOCor(2, GOCorSettings(training_iterations=2)).double()
    reference, query = torch.randn(2, 1, 3, 5, 4, dtype=torch.float64).unbind(0)
    reference.requires_grad_()

    def unrolled(features):
        filters = module.initialiser(features)
        for _ in range(2):
            with torch.enable_grad():
                robust, shrink = residuals(module, filters, features)
                loss = (robust.square().sum() + shrink.square().sum()) / 2
                gradient = torch.autograd.grad(loss, filters, create_graph=True)[0]
            change = unfolded(gradient, features, 2)
            scores = unfolded(filters, features, 2)
            steps = torch.arange(-2, 3.0, dtype=torch.float64)
            weight, mask = module.optimiser.profiles((steps.view(-1, 1) ** 2 + steps**2).sqrt().flatten())[1:]
            slope = torch.where(scores > 0, weight.view(1, -1, 1, 1), (weight * mask).view(1, -1, 1, 1))
            length = gradient.square().sum(dim=1, keepdim=True)
            penalty = module.optimiser.regularisation**2 / features.shape[1] ** 2
            curvature = (slope * change).square().sum(dim=1, keepdim=True) + penalty * length
            filters = filters - torch.exp(module.optimiser.log_step_length) * length / curvature * gradient
        return filters

    direction = torch.randn(1, 3, 5, 4, dtype=torch.float64)
    learned = [reference, *module.parameters()]
    found = torch.autograd.grad((module.filter_map(reference, query) * direction).sum(), learned)
    wanted = torch.autograd.grad((unrolled(reference) * direction).sum(), learned)
    for ours, theirs in zip(found, wanted, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-8, atol=1e-12)
    assert all(value.abs().sum() > 0 for value in found)


def test_second_derivatives():
    module = LocalGOCor(1, GOCorSettings(training_iterations=1)).double()
    reference, query = torch.randn(2, 1, 2, 3, 3, dtype=torch.float64).unbind(0)
    inputs = (reference.requires_grad_(), query.requires_grad_())
    assert torch.autograd.gradgradcheck(lambda a, b: module(a, b).sum(dim=1), inputs)


@pytest.mark.parametrize("query_loss", [False, True])
def test_the_objective_falls_at_every_iteration_on_random_features(query_loss):
    module = LocalGOCor(4, GOCorSettings(query_loss=query_loss))
    trace = FilterTrace()
    with torch.no_grad():
        module.filter_map(torch.randn(2, 16, 12, 11), torch.randn(2, 16, 12, 11), iterations=7, trace=trace)
    total = torch.stack(trace.losses["total"])
    assert (total[1:] < total[:-1]).all()


@pytest.mark.parametrize("smoothing", [0.1, 1e-7])
def test_smooth_objective_is_that_of_equation_4b(smoothing):
    exact, smooth = LocalGOCor(2).double(), LocalGOCor(2, GOCorSettings(smoothing=smoothing)).double()
    features = torch.randn(1, 4, 6, 6, dtype=torch.float64)
    traces = FilterTrace(), FilterTrace()
    with torch.no_grad():
        for module, trace in zip((exact, smooth), traces, strict=True):
            module.filter_map(features, features, iterations=1, trace=trace)
    scores = unfolded(exact.initialiser(features), features, 2)
    steps = torch.arange(-2, 3.0, dtype=torch.float64)
    target, plus, mask = exact.optimiser.profiles((steps.view(-1, 1) ** 2 + steps**2).sqrt().flatten())
    minus = plus * mask
    plus, minus, target = (part.view(1, -1, 1, 1) for part in (plus, minus, plus * target))
    magnitude = (scores**2 + smoothing**2).sqrt() - smoothing
    wanted = ((plus - minus) / 2 * magnitude + (plus + minus) / 2 * scores - target).square().sum() / 2
    assert torch.allclose(traces[1].losses["reference"][0], wanted, rtol=1e-12)
    if smoothing < 1e-3:
        assert torch.allclose(traces[0].filters[1], traces[1].filters[1], rtol=1e-4)


@pytest.mark.parametrize("kind", ["zero", "simple", "flexible-simple", "context", "flexible-context"])
def test_every_initialiser_starts_a_module(kind):
    module = LocalGOCor(2, GOCorSettings(initialiser=kind), channels=6)
    scores = module(torch.randn(2, 6, 5, 4), torch.randn(2, 6, 5, 4))
    assert scores.shape == (2, 25, 5, 4)
    assert torch.isfinite(scores).all()


def test_a_flexible_initialiser_asks_for_the_channels():
    with pytest.raises(InputError, match="number"):
        LocalGOCor(4, GOCorSettings(initialiser="flexible-simple"))


def test_iterations_in_training_and_evaluation():
    module = LocalGOCor(2, GOCorSettings(iterations=5, training_iterations=1))
    features = torch.randn(1, 4, 6, 6)
    with torch.no_grad():
        assert torch.equal(module.train().filter_map(features, features), module.filter_map(features, features, 1))
        assert torch.equal(module.eval().filter_map(features, features), module.filter_map(features, features, 5))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_constant_features_give_finite_scores(value):
    features = torch.full((1, 4, 5, 5), value)
    assert torch.isfinite(LocalGOCor()(features, features)).all()
