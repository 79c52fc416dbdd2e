"""The how-to about networks, followed."""

import pytest
from howto import copy_of_tree, follow, python, steps

TITLE = "Add a network"


@pytest.mark.slow
def test_a_network_is_two_files(tmp_path):
    tree = copy_of_tree(tmp_path)
    printed = follow(TITLE, tree)
    assert "one level, one correlation, one decoder" in printed
    assert (tree / "tests" / "parity" / "wagtail.npz").is_file()
    tests = [line for line in printed.splitlines() if (line.endswith("]") and "%" in line) or " passed" in line]
    assert tests
    code = """
import torch, flowzoo
assert "wagtail" in flowzoo.list_models(task="flow")
network = flowzoo.create("wagtail", radius=2)
print(network(torch.rand(1, 3, 37, 61), torch.rand(1, 3, 37, 61)).flow.shape, network.settings.radius)
"""
    assert python(code, tree).strip() == "torch.Size([1, 2, 37, 61]) 2"


def test_files_that_a_network_needs():
    assert [step.path for step in steps(TITLE)] == ["flowzoo/zoo/wagtail.py", "flowzoo/models/wagtail.py", ""]
