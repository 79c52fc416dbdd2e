"""The how-to about data sets, followed."""

import json

import pytest
from howto import copy_of_tree, follow, run, steps

TITLE = "Add a data set"


def test_a_data_set_is_one_file(tmp_path):
    tree = copy_of_tree(tmp_path)
    follow(TITLE, tree)
    scores = json.loads((tree / "scores.json").read_text())
    assert (scores["dataset"], scores["pairs"]) == ("meadow", 2)
    assert scores["metrics"]["epe"] > 0
    (tree / "meadow" / "0000001-img_1.png").unlink()
    with pytest.raises(AssertionError, match=r"Meadow .* is incomplete: 1 of 2 pairs.*0000001-img_1.png"):
        run(["flowzoo", "evaluate", "meadow", "--root", "meadow", "--model", "wren"], tree)


def test_files_that_a_data_set_touches():
    assert [step.path for step in steps(TITLE) if step.path] == ["flowzoo/datasets/meadow.py"]
