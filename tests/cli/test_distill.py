"""`flowzoo distill`: what it writes can be trained on, and only trusted vectors are in it."""

import numpy as np
import pytest
import torch

import flowzoo
from flowzoo.checkpoints import save_weights
from flowzoo.cli.parser import run
from flowzoo.datasets.catalogue import open_dataset
from flowzoo.files.flow import read_flow
from flowzoo.files.images import write_image
from flowzoo.inference.estimator import Estimator
from flowzoo.inference.pseudo_truth import PseudoTruth, tasks_of
from flowzoo.losses.distillation import Trust

EVERYTHING = ["--consistency", "1", "1e9", "--max-difference", "1", "--min-confidence", "0"]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A small random network and its file."""
    torch.manual_seed(3)
    network = flowzoo.create("wren")
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    save_weights(network, path)
    return network, path


@pytest.fixture
def images(tmp_path):
    generator = np.random.default_rng(0)
    pictures = [generator.integers(0, 256, (40, 56, 3), dtype=np.uint8) for _ in range(3)]
    for index, picture in enumerate(pictures):
        write_image(tmp_path / f"{index}.png", picture)
    (tmp_path / "list.txt").write_text("0.png 1.png\n1.png 2.png\n")
    return pictures


def distill(tmp_path, teacher, *words):
    options = ["--model", "wren", "--weights", str(teacher[1]), "--device", "cpu", "-o", str(tmp_path / "labels")]
    return run(["distill", "--pairs", str(tmp_path / "list.txt"), *options, *words])


@pytest.mark.parametrize("kind", ["kitti", "flo"])
def test_labels_are_the_teachers_flow_inside_the_image(kind, tmp_path, teacher, images):
    assert distill(tmp_path, teacher, "--format", kind, *EVERYTHING) == 0
    dataset = open_dataset("pairs", tmp_path / "labels")
    assert [pair.first.name for pair in dataset.pairs] == ["0.png", "1.png"]
    for index, sample in enumerate(dataset):
        expected = Estimator(teacher[0])(images[index], images[index + 1]).flow
        rows, columns = np.mgrid[:40, :56]
        target = np.stack([columns, rows], axis=2) + expected
        inside = ((target >= 0) & (target <= [55, 39])).all(axis=2)
        np.testing.assert_array_equal(sample.valid, inside)
        step = 1 / 128 + 1e-4 if kind == "kitti" else 1e-5
        np.testing.assert_allclose(sample.flow[inside], expected[inside], atol=step)
        assert np.array_equal(sample.first, images[index])


def test_a_second_run_leaves_finished_labels_alone(tmp_path, teacher, images):
    assert distill(tmp_path, teacher, *EVERYTHING) == 0
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "labels").glob("*.png")}
    (tmp_path / "labels" / "0.png").unlink()
    assert distill(tmp_path, teacher, *EVERYTHING) == 0
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "labels").glob("*.png")}
    assert after["1.png"] == before["1.png"]
    assert after["0.png"] > before["0.png"]


def test_strict_checks_keep_nothing_of_a_random_teacher(tmp_path, teacher, images):
    assert distill(tmp_path, teacher, "--consistency", "0", "0") == 0
    assert not read_flow(tmp_path / "labels" / "0.png")[1].any()


def test_vectors_that_do_not_fit_the_format_are_left_out(tmp_path, teacher):
    labels = PseudoTruth(Estimator(teacher[0], backward=True), tmp_path, Trust(1, 1e9, 0, 1))
    wide = np.zeros((8, 1300, 3), np.uint8)
    estimate = Estimator(teacher[0], backward=True)(wide, wide)
    flow = estimate.flow
    flow[:, :2] = (600, 0)
    labels.estimator = type("Fixed", (), {"backward": True, "__call__": lambda *_: estimate})()
    assert not labels.label(wide, wide)[1][:, :2].any()


def test_a_folder_keeps_the_labels_and_lines_of_earlier_runs(tmp_path, teacher, images, capsys):
    assert distill(tmp_path, teacher, "--limit", "1", *EVERYTHING) == 0
    (tmp_path / "list.txt").write_text("1.png 2.png\n")
    assert distill(tmp_path, teacher, *EVERYTHING) == 0
    dataset = open_dataset("pairs", tmp_path / "labels")
    assert [(pair.first.name, pair.flow.name) for pair in dataset.pairs] == [("0.png", "0.png"), ("1.png", "1.png")]
    before = (tmp_path / "labels" / "1.png").read_bytes()
    (tmp_path / "list.txt").write_text("1.png 0.png\n")
    for more in ([], ["--overwrite"]):
        assert distill(tmp_path, teacher, *more) == 2
        assert "is the label of" in capsys.readouterr().err
    (tmp_path / "list.txt").write_text("2.png 0.png\n")
    (tmp_path / "labels" / "pairs.txt").write_text("a.png b.png c.flo\n")
    assert distill(tmp_path, teacher) == 2
    assert "not written by flowzoo distill" in capsys.readouterr().err
    assert (tmp_path / "labels" / "1.png").read_bytes() == before


def test_equal_names_are_told_apart(tmp_path):
    tasks = tasks_of([(tmp_path, tmp_path, "a"), (tmp_path, tmp_path, "b"), (tmp_path, tmp_path, "a")])
    assert [task.name for task in tasks] == ["a", "b", "a-2"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give either"),
        (["sintel-clean"], "--root"),
        (["--pairs", "x", "--min-confidence", "2"], "--min-confidence must be 0 to 1"),
        (["--pairs", "x", "--consistency", "-1", "0"], "from 0 up"),
        (["--pairs", "x", "--limit", "0"], "--limit"),
    ],
)
def test_mistakes_are_one_line(words, message, tmp_path, capsys):
    assert run(["distill", *words, "-o", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
