"""The offset-fidelity loss and the offset measures against reference values."""

import json

import numpy as np
import pytest
import torch

from flowzoo.errors import InputError
from flowzoo.losses.offset_fidelity import offset_fidelity_loss
from flowzoo.metrics.offsets import diversity_map, offset_measures, pearson

CASES = ["g1n1", "g8n9", "g2n5"]


@pytest.fixture(scope="module")
def reference(shared):
    return np.load(shared / "parity" / "offset-measures.npz")


def tensor(reference, key):
    return torch.tensor(reference[key].astype(np.float32))


def test_loss_and_gradient_of_every_row(reference):
    rows = json.loads(str(reference["loss"]))
    assert len(rows) >= 6
    flow = tensor(reference, "flow").requires_grad_()
    for row in rows:
        offset = tensor(reference, f"g{row['groups']}n{row['n']}_l{row['level']}_offset").requires_grad_()
        loss = offset_fidelity_loss(offset, flow, row["weight"], row["threshold"])
        assert loss.item() == pytest.approx(row["loss"], rel=1e-5)
        total = offset_fidelity_loss(offset, flow, row["weight"], row["threshold"], reduction="sum")
        assert total.item() == pytest.approx(row["loss_summed_over_pixels"], rel=1e-5)
        gradient, to_flow = torch.autograd.grad(loss, (offset, flow), allow_unused=True)
        assert to_flow is None
        assert float(gradient.abs().sum()) == pytest.approx(row["grad_abs_sum"], rel=1e-5, abs=1e-9)
        assert float(gradient.sum()) == pytest.approx(row["grad_sum"], rel=1e-4, abs=1e-6)
        assert float((gradient != 0).float().mean()) == pytest.approx(row["active"], rel=1e-5)


@pytest.mark.parametrize("threshold", [1, 10])
def test_loss_of_the_published_code(threshold, shared):
    arrays = np.load(shared / "parity" / "dcn-decomposition.npz")
    offset = torch.tensor(arrays["ofl_offset"]).requires_grad_()
    loss = offset_fidelity_loss(offset, torch.tensor(arrays["ofl_flow"]), threshold=threshold)
    assert loss.item() == pytest.approx(float(arrays[f"ofl_loss_t{threshold}"]), rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, offset)
    assert np.abs(gradient.numpy() - arrays[f"ofl_grad_t{threshold}"]).max() < 1e-9


@pytest.mark.parametrize("case", CASES)
def test_measures(case, reference):
    flow, mask = tensor(reference, "flow"), tensor(reference, f"{case}_mask")
    offset = tensor(reference, f"{case}_l1_offset")
    found = offset_measures(offset, flow, mask)
    for name, key in (
        ("diversity", "diversity"),
        ("within_1px", "share_within_1px"),
        ("closest_within_1px", "closest_share_within_1px"),
    ):
        assert getattr(found, name) == pytest.approx(float(reference[f"{case}_{key}"]), rel=1e-5)
    wanted = reference[f"{case}_diversity_map"]
    assert np.abs(diversity_map(offset).numpy() - wanted).max() <= 1e-5 * max(wanted.max(), 1)
    assert np.allclose(found.l1_distance.numpy(), reference[f"{case}_l1_distance"], rtol=1e-5)
    assert found.order.tolist() == reference[f"{case}_order"].tolist()
    assert np.allclose(found.mask_mean.numpy(), reference[f"{case}_mask_mean"], rtol=1e-5)
    assert found.mask_pearson == pytest.approx(float(reference[f"{case}_mask_distance_pearson"]), rel=1e-5, nan_ok=True)


def test_pearson_correlation(reference):
    found = pearson(torch.tensor(reference["pearson_psnr"]), torch.tensor(reference["pearson_diversity"]))
    assert found == pytest.approx(float(reference["pearson"]), rel=1e-9)


def test_what_does_not_fit_is_named():
    offset, flow = torch.zeros(1, 18, 6, 8), torch.zeros(1, 2, 6, 8)
    for wrong in (
        torch.zeros(1, 2, 18, 24),
        torch.zeros(2, 2, 6, 8),
        torch.zeros(1, 2, 12, 8),
        torch.zeros(1, 2, 3, 4),
    ):
        with pytest.raises(InputError, match="power of two"):
            offset_fidelity_loss(offset, wrong)
    with pytest.raises(InputError, match="reduction"):
        offset_fidelity_loss(offset, flow, reduction="median")
    with pytest.raises(InputError, match="flow must be"):
        offset_measures(offset, torch.zeros(1, 2, 3, 4))
    with pytest.raises(InputError, match="mask must be"):
        offset_measures(offset, flow, torch.zeros(1, 3, 6, 8))
    with pytest.raises(InputError, match="offset must be"):
        diversity_map(torch.zeros(1, 3, 6, 8))
