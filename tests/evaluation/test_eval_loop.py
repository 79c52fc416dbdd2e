"""The result does not depend on batches, threads or processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluation_samples import make_chairs, make_kitti
from torch import Tensor, nn

from flowzoo.datasets.catalogue import open_dataset
from flowzoo.errors import InputError
from flowzoo.evaluation.loop import EvaluationLoop
from flowzoo.evaluation.predictors import FilePredictor, NetworkPredictor
from flowzoo.evaluation.protocols import protocol_for
from flowzoo.evaluation.report import summarise
from flowzoo.evaluation.run import Evaluation
from flowzoo.files.images import read_image, write_image
from flowzoo.inference.estimator import Estimator
from flowzoo.network import FlowNetwork, FlowPrediction


class Blur(FlowNetwork):
    """A convolution of both images; counts its calls."""

    model_name = "blur"

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(6, 2, 5, padding=2)
        self.sizes: list[tuple[int, ...]] = []

    def predict(self, first: Tensor, second: Tensor) -> FlowPrediction:
        self.sizes.append(tuple(first.shape))
        return FlowPrediction(flow=20 * self.layer(torch.cat([first, second], dim=1)))


def network_loop(root: Path, network: Blur, together: bool = True, **options: int) -> EvaluationLoop:
    dataset = open_dataset("flyingchairs", root, partial=True)
    predictor = NetworkPredictor(Estimator(network), dataset)
    predictor.together = together
    return EvaluationLoop(dataset, protocol_for("flyingchairs"), predictor, **options)


def test_a_cpu_computes_pairs_one_by_one(tmp_path: Path) -> None:
    make_chairs(tmp_path / "chairs", 5)
    network = Blur().eval()
    found = []
    for batch_size in (1, 4):
        dataset = open_dataset("flyingchairs", tmp_path / "chairs", partial=True)
        predictor = NetworkPredictor(Estimator(network), dataset)
        loop = EvaluationLoop(dataset, protocol_for("flyingchairs"), predictor, batch_size=batch_size)
        found.append(summarise(loop.protocol, loop.run(), 0))
    assert found[0] == found[1]
    assert {size[0] for size in network.sizes} == {1}


def test_batches_threads_and_ranks(tmp_path: Path) -> None:
    make_chairs(tmp_path / "chairs", 7)
    network = Blur().eval()
    reference = network_loop(tmp_path / "chairs", network)
    wanted = summarise(reference.protocol, reference.run(), 3)
    assert len(wanted["per_pair"]) == 7
    for batch_size, workers, world in ((1, 3, 1), (4, 1, 1), (4, 2, 2), (1, 2, 2), (3, 2, 5)):
        network.sizes.clear()
        results, shares = [], []
        for rank in range(world):
            loop = network_loop(tmp_path / "chairs", network, batch_size=batch_size, workers=workers)
            shares.append(loop.run(rank, world))
            results = shares[-1] + results
        found = summarise(loop.protocol, results, 3)
        assert sorted(result.index for result in results) == list(range(7))
        assert max(size[0] for size in network.sizes) == batch_size
        if batch_size == 1:
            assert found == wanted
        for name, value in wanted["metrics"].items():
            assert found["metrics"][name] == (None if value is None else pytest.approx(value, abs=1e-6)), name
    one = network_loop(tmp_path / "chairs", network, batch_size=4)
    two = network_loop(tmp_path / "chairs", network, batch_size=4)
    assert summarise(one.protocol, one.run(), 0) == summarise(two.protocol, two.run(1, 2) + two.run(0, 2), 0)


def test_batch_of_two_sizes(tmp_path: Path) -> None:
    make_chairs(tmp_path / "chairs", 3)
    image = tmp_path / "chairs" / "data" / "00002_img1.ppm"
    for ending in ("img1", "img2"):
        write_image(image.with_name(f"00002_{ending}.ppm"), read_image(image)[:10])
    from flowzoo.files.flow import read_flow, write_flow

    flow, _ = read_flow(image.with_name("00002_flow.flo"))
    write_flow(image.with_name("00002_flow.flo"), flow[:10])
    network = Blur().eval()
    assert len(network_loop(tmp_path / "chairs", network, batch_size=3).run()) == 3
    assert [size[0] for size in network.sizes] == [1, 1, 1]


def test_limit_and_kept_predictions(tmp_path: Path) -> None:
    predictions = make_chairs(tmp_path / "chairs", 5)
    dataset = open_dataset("flyingchairs", tmp_path / "chairs", partial=True)
    loop = EvaluationLoop(
        dataset,
        protocol_for("flyingchairs"),
        FilePredictor(predictions, dataset),
        limit=4,
        keep_worst=2,
    )
    entries = [result.entry for result in loop.run()]
    errors = [entry.statistics["epe"][0] / entry.statistics["epe"][1] for entry in entries]
    assert len(errors) == 4
    assert sorted(-negative for _, negative, _ in loop.worst) == sorted(np.argsort(errors)[-2:].tolist())


@pytest.mark.slow
def test_two_processes_give_the_same_file(tmp_path: Path) -> None:
    """`torchrun` with two processes writes, but for the time, the JSON file of one."""
    predictions = make_kitti(tmp_path / "kitti", 2015, 5)
    words = ["evaluate", "kitti-2015", "--root", str(tmp_path / "kitti"), "--partial"]
    words += ["--predictions", str(predictions), "--worst", "2", "--pictures", str(tmp_path / "worst")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    texts = []
    for number, start in enumerate(([], launcher)):
        file = tmp_path / f"{number}.json"
        done = subprocess.run(
            [sys.executable, *start, "-m", "flowzoo", *words, "--json", str(file)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("Fl-all: > 3 px") == 1
        texts.append(file.read_text())
    assert texts[0] == texts[1]
    assert json.loads(texts[0])["pairs"] == 5
    assert len(list((tmp_path / "worst").glob("*.png"))) == 2


def test_sizes_of_images_must_agree(tmp_path: Path) -> None:
    make_chairs(tmp_path / "chairs", 1)
    write_image(tmp_path / "chairs/data/00001_img2.ppm", np.zeros((5, 6, 3), np.uint8))
    with pytest.raises(InputError, match="images of one size"):
        network_loop(tmp_path / "chairs", Blur().eval()).run()


def test_csv_has_every_pair_and_the_total(tmp_path: Path) -> None:
    predictions = make_chairs(tmp_path / "chairs", 3)
    report = Evaluation("flyingchairs", tmp_path / "chairs", partial=True, predictions=predictions).run()
    lines = [line.split(",") for line in report.as_csv().splitlines()]
    assert [line[0] for line in lines] == ["name", "00001", "00002", "00003", "all"]
    column = lines[0].index("epe")
    assert float(lines[-1][column]) == report.metrics["epe"]
    assert float(lines[2][column]) == report.per_pair[1]["epe"]
