"""Global GOCor against reference outputs, and the closed-form gradient against autograd."""

from dataclasses import replace

import pytest
import torch
from reference_outputs import load

from flowzoo.blocks.filter_optimiser import FilterTrace
from flowzoo.blocks.gocor_global import PUBLISHED, GlobalGOCor
from flowzoo.blocks.radial_profile import RadialProfiles
from flowzoo.blocks.separable_conv4d import SeparableConv4d
from flowzoo.checkpoints.gocor import move_gocor
from flowzoo.checkpoints.keymap import Renaming
from flowzoo.errors import InputError
from flowzoo.zoo.shared import GOCorSettings


def close(found, wanted, tolerance=1e-9):
    wanted = torch.as_tensor(wanted)
    return (found - wanted).abs().max() <= tolerance * wanted.abs().max()


def published_module(state, **arguments):
    query_loss = arguments.get("query_loss", True)
    names = Renaming(state, "reference")
    move_gocor(names, "corr.corr_module", "m", "flexible-context", query_loss=query_loss)
    module = GlobalGOCor(24, replace(PUBLISHED, **arguments))
    module.load_state_dict({name.removeprefix("m."): value for name, value in names.result.items()})
    return module.double().eval()


def features(arrays):
    return [torch.from_numpy(arrays[name]).double() for name in ("reference", "query")]


def unit(values):
    return values / values.square().sum(dim=1, keepdim=True).sqrt()


@pytest.mark.parametrize(
    ("prefix", "arguments"),
    [("lq", {}), ("lr", {"query_loss": False}), ("slreg", {"steplength_regularisation": 0.1})],
)
def test_filters_steps_losses_and_scores_are_the_references(shared, prefix, arguments):
    arrays, state = load(shared, "gocor-global")
    module = published_module(state, **arguments)
    trace = FilterTrace()
    with torch.no_grad():
        module.filter_map(*features(arrays), trace=trace)
        scores = module(*features(arrays))
    assert close(torch.stack(trace.filters), arrays[f"{prefix}_w"])
    assert close(torch.stack(trace.steps).flatten(), arrays[f"{prefix}_alpha"].ravel())
    assert close(scores, arrays[f"{prefix}_scores"])
    for ours, theirs in (("reference", "reference"), ("regularisation", "reg"), ("total", "total"), ("query", "query")):
        if f"{prefix}_loss_{theirs}" in arrays:
            assert close(torch.stack(trace.losses[ours]), arrays[f"{prefix}_loss_{theirs}"])


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("simple", "simple"),
        ("flexible-simple", "flexible_simple"),
        ("context", "context"),
        ("flexible-context", "flexible_context_constructor"),
    ],
)
def test_initial_filters_are_the_references(shared, kind, name):
    arrays, _ = load(shared, "gocor-global")
    initialiser = GlobalGOCor(24, GOCorSettings(initialiser=kind)).double().initialiser
    if kind == "flexible-simple":
        initialiser.scaling.data = torch.from_numpy(arrays["flexible_simple_scaling"])
    with torch.no_grad():
        found = initialiser(features(arrays)[0])
    assert close(found.flatten(2).transpose(1, 2), arrays[f"w0_{name}"])


def test_context_initialiser_solves_its_two_equations():
    vectors = unit(torch.randn(1, 12, 4, 5, dtype=torch.float64))
    filters = GlobalGOCor(12, GOCorSettings(initialiser="context")).double().initialiser(vectors)
    assert torch.allclose((filters * vectors).sum(dim=1), torch.ones(1, 4, 5).double())
    assert (filters * vectors.mean(dim=(2, 3), keepdim=True)).sum(dim=1).abs().max() < 1e-12


def test_regulariser_and_its_transpose_are_the_references(shared):
    arrays, state = load(shared, "gocor-global")
    regulariser = published_module(state).optimiser.query_regulariser.float()
    scores = torch.from_numpy(arrays["lq_scores"]).float().view(2, 7, 9, 7, 9)
    with torch.no_grad():
        output = regulariser(scores.permute(0, 3, 4, 1, 2))
        back = regulariser.transpose(output)
    assert close(output[:1, ..., :4, :, :], arrays["conv4d_out"], 1e-5)
    assert close(back[:1], arrays["conv4d_transposed"], 1e-5)


def test_transpose_is_the_adjoint():
    regulariser = SeparableConv4d().double()
    volume = torch.randn(2, 3, 4, 5, 2, dtype=torch.float64)
    maps = torch.randn(2, 5, 2, 16, 3, 4, dtype=torch.float64)
    assert torch.allclose((regulariser(volume) * maps).sum(), (volume * regulariser.transpose(maps)).sum())


@pytest.mark.parametrize("query_loss", [False, True])
def test_the_closed_form_gradient_is_autograds(query_loss):
    module = GlobalGOCor(8, replace(PUBLISHED, query_loss=query_loss)).double()
    if query_loss:
        for weight in module.optimiser.query_regulariser.parameters():
            torch.nn.init.normal_(weight, std=0.3)
    reference, query = (unit(torch.randn(2, 8, 4, 3, dtype=torch.float64)) for _ in range(2))
    start = module.initialiser(reference).detach().flatten(2).transpose(1, 2).requires_grad_()
    rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(3.0), indexing="ij")
    places = torch.stack([rows.flatten(), columns.flatten()], dim=1).double()
    target, weight, mask = module.optimiser.profiles(torch.cdist(places, places))
    scores = start @ reference.flatten(2)
    robust = torch.where(scores > 0, weight * scores, weight * mask * scores) - weight * target
    objective = robust.square().sum() / 2 + (module.optimiser.regularisation**2 * start.square().sum() / 2).squeeze()
    if query_loss:
        volume = (start @ query.flatten(2)).view(2, 4, 3, 4, 3)
        objective = objective + module.optimiser.query_regulariser(volume).square().sum() / 2
    wanted = torch.autograd.grad(objective, start)[0]
    trace = FilterTrace()
    with torch.no_grad():
        module.filter_map(reference, query, iterations=1, trace=trace)
    found = (trace.filters[0] - trace.filters[1]) / trace.steps[0]
    assert torch.allclose(found, wanted, rtol=1e-9, atol=1e-12)


def test_the_objective_falls_and_gradients_reach_all_that_is_learned():
    module = GlobalGOCor(16)
    reference, query = (unit(torch.randn(2, 16, 6, 6)).requires_grad_() for _ in range(2))
    trace = FilterTrace()
    filters = module.filter_map(reference, query, iterations=5, trace=trace)
    total = torch.stack(trace.losses["total"])
    assert (total[1:] < total[:-1]).all()
    (filters * torch.randn_like(filters)).sum().backward()
    for name, value in [*module.named_parameters(), ("reference", reference), ("query", query)]:
        assert torch.isfinite(value.grad).all(), name
        assert value.grad.abs().sum() > 0, name


def test_linear_objective_is_plain_regression_to_a_delta():
    profiles = RadialProfiles("linear").double()
    target, weight, mask = profiles(torch.tensor([0.0, 1.0, 2.0**0.5, 7.0], dtype=torch.float64))
    assert target.tolist() == [1, 0, 0, 0]
    assert torch.equal(weight, torch.ones(4).double())
    assert torch.equal(mask, torch.ones(4).double())
    assert not any(parameter.requires_grad for parameter in profiles.parameters())


def test_query_loss_needs_one_size():
    with pytest.raises(InputError, match="one size"):
        GlobalGOCor(4)(torch.rand(1, 4, 3, 3), torch.rand(1, 4, 3, 2))
    assert GlobalGOCor(4, replace(PUBLISHED, query_loss=False))(
        torch.rand(1, 4, 3, 3), torch.rand(1, 4, 2, 5)
    ).shape == (1, 10, 3, 3)
