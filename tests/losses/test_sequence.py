"""The loss over iterations against its formula and the reference's number."""

import pytest
import reference_outputs as references
import torch

import flowzoo
from flowzoo.errors import InputError
from flowzoo.losses.sequence import SequenceLoss
from flowzoo.network import FlowPrediction


@pytest.mark.parametrize("name", ["raft", "raft-small"])
def test_number_of_the_reference(shared, name):
    arrays, state = references.load(shared, name)
    network = flowzoo.create(name)
    network.load_state_dict(flowzoo.import_checkpoint(name, state))
    truth = torch.from_numpy(arrays["flow_20"])[None]
    valid = (torch.arange(truth.shape[3]) % 3 != 0).expand(1, *truth.shape[2:])
    with torch.inference_mode():
        prediction = network.train()(*references.image_pair(arrays))
        loss = SequenceLoss(0.8)(prediction, truth, valid)
    assert float(loss) == pytest.approx(float(arrays["sequence_loss_12"]), rel=1e-4)


def test_formula():
    truth, flows = 30 * torch.randn(2, 2, 5, 7), [torch.randn(2, 2, 5, 7) for _ in range(3)]
    valid = torch.rand(2, 5, 7) > 0.3
    counted = (valid & (truth.norm(dim=1) < 40)).unsqueeze(1)
    wanted = sum(0.7 ** (2 - k) * ((flow - truth).abs() * counted).sum() / (2 * 2 * 35) for k, flow in enumerate(flows))
    assert 0.2 < counted.float().mean() < 0.6
    found = SequenceLoss(0.7, largest=40)(FlowPrediction(flows[-1], flows), truth, valid)
    assert torch.allclose(found, wanted)


def test_unknown_truth_passes_no_nan_into_the_gradient():
    truth, flow = torch.zeros(1, 2, 4, 4), torch.randn(1, 2, 4, 4, requires_grad=True)
    truth[0, :, 1, 1] = float("nan")
    SequenceLoss()(FlowPrediction(flow, [flow]), truth).backward()
    assert torch.isfinite(flow.grad).all()
    assert not flow.grad[0, :, 1, 1].any()


def test_mistakes_are_named():
    flow = torch.zeros(1, 2, 4, 4)
    with pytest.raises(InputError, match="images' size"):
        SequenceLoss()(FlowPrediction(flow, [flow[..., :2, :2]]), flow)
    with pytest.raises(InputError, match="gamma"):
        SequenceLoss(0.0)
