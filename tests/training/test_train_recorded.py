"""Steps that are replayed end with the weights of steps that are computed anew."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from training_runs import trained

from flowzoo.augmentation.batch import tensors_in
from flowzoo.augmentation.planned import PlannedBatch
from flowzoo.distributed import Ranks
from flowzoo.training.recipe import load_recipe
from flowzoo.training.recorded import EAGER_STEPS, RecordedGradient, records
from flowzoo.training.stage import Stage
from flowzoo.training.task import Loss

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


class Tape:
    """As a CUDA graph: a replay reads the memory of the first run's inputs, and writes that of its results."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        self.parameters, self.replays = parameters, 0

    def __call__(self, run: Callable[[], Loss]) -> tuple[Loss, Callable[[], object]]:
        loss = run()
        kept = [parameter.grad for parameter in self.parameters]

        def replay() -> None:
            self.replays += 1
            again = run()
            for place, parameter in zip(kept, self.parameters, strict=True):
                if place is not None and parameter.grad is not None:
                    place.copy_(parameter.grad)
            loss.value.copy_(again.value)
            for name, value in loss.quantities.items():
                value.copy_(again.quantities[name])

        return loss, replay


CHANGES = {
    "begin.steps": 6, "quarter.steps": 0, "large.steps": 0, "longer.steps": 0, "again.steps": 0, "last.steps": 0,
    "batch": 2, "crop": (64, 64), "precision": "float32", "data": ("scenes",), "average": 0.5, "clip": 1.0,
    "augmenting": "device", "scene": (64, 96),
}  # fmt: skip


def test_replayed_steps_train_as_others_do(photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe("default", dict(CHANGES))
    plain = trained(recipe, photographs, tmp_path / "plain")
    tapes: list[Tape] = []

    def made(compute: Callable[[object], Loss], parameters: list[nn.Parameter]) -> RecordedGradient:
        tapes.append(Tape(parameters))
        return RecordedGradient(compute, parameters, tapes[-1])

    monkeypatch.setattr("flowzoo.training.stage_run.records", lambda *_: True)
    monkeypatch.setattr("flowzoo.training.stage_run.RecordedGradient", made)
    replayed = trained(recipe, photographs, tmp_path / "replayed")
    assert tapes[0].replays == 6 - EAGER_STEPS
    for name, value in plain.ending.weights.items():
        assert torch.equal(value, replayed.ending.weights[name]), name
    log = [(tmp_path / run / "log.csv").read_text().splitlines()[-1].split(",")[:4] for run in ("plain", "replayed")]
    assert log[0] == log[1]


def test_what_cannot_be_recorded_is_computed() -> None:
    weight = nn.Parameter(torch.ones(3))

    def compute(batch: list[torch.Tensor]) -> Loss:
        value = (weight * batch[0]).sum()
        value.backward()
        return Loss(value.detach())

    def refused(run: Callable[[], Loss]) -> tuple[Loss, Callable[[], object]]:
        run()
        raise RuntimeError("operation not permitted when stream is capturing")

    gradient = RecordedGradient(compute, [weight], refused)
    for number in range(4):
        weight.grad = None
        batch = [torch.full((3,), float(number))]
        assert float(gradient(batch).value) == 3 * number
        assert torch.equal(weight.grad, batch[0])


def test_a_batch_of_another_size_is_computed() -> None:
    weight = nn.Parameter(torch.ones(1))

    def compute(batch: list[torch.Tensor]) -> Loss:
        value = (weight * batch[0]).sum()
        value.backward()
        return Loss(value.detach())

    gradient = RecordedGradient(compute, [weight], Tape([weight]))
    for size in (2, 2, 2, 3, 2):
        weight.grad = None
        assert float(gradient([torch.full((size,), 2.0)]).value) == 2 * size
        assert float(weight.grad) == 2 * size


@pytest.mark.parametrize(
    ("changes", "device", "ranks", "expected"),
    [
        ({}, CUDA, Ranks(), True),
        ({}, CPU, Ranks(), False),
        ({}, CUDA, Ranks(0, 2), False),
        ({"accumulate": 2}, CUDA, Ranks(), False),
        ({"precision": "float16"}, CUDA, Ranks(), False),
        ({"graph": False}, CUDA, Ranks(), False),
    ],
)
def test_which_stages_are_recorded(
    changes: dict[str, object], device: torch.device, ranks: Ranks, expected: bool
) -> None:
    assert records(Stage(**{"graph": True} | changes), ranks, device) is expected


def test_every_tensor_of_a_batch_is_found() -> None:
    ones = [torch.ones(1) for _ in range(3)]
    assert [id(tensor) for tensor in tensors_in({"a": ones[0], "b": [ones[1], (ones[2], None, 3)]})] == list(
        map(id, ones)
    )
    assert tensors_in(PlannedBatch(*ones, *[None] * 6, (1, 2)))[0] is ones[0]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_graph_trains_as_eager_steps_do(photographs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "flowzoo")
    ended = []
    for graph in (False, True):
        recipe = load_recipe("default", CHANGES | {"graph": graph})
        run = trained(recipe, photographs, tmp_path / str(graph), device=torch.device("cuda", 0))
        ended.append(run.ending.weights)
    for name, value in ended[0].items():
        assert torch.allclose(value, ended[1][name], atol=2e-3, rtol=1e-2), name
    assert "not recorded" not in caplog.text
