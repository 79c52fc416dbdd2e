"""The how-to about operators, followed."""

import re

import pytest
from howto import ROOT, copy_of_tree, follow, python, steps

from flowzoo.operators import native

TITLE = "Add an operator with kernels"


@pytest.mark.slow
def test_an_operator_is_a_package_and_its_kernels(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOWZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTEST_ADDOPTS", "-m 'not cuda'")
    tree = copy_of_tree(tmp_path)
    # To build the other kernels again would take half a minute; they are not what this is about.
    for path in (tree / "kernels").glob("*.cpp"):
        if path.name != "threads.cpp":
            path.unlink()
    printed = follow(TITLE, tree)
    passed = re.search(r"(\d+) passed", printed)
    assert passed, printed
    assert int(passed[1]) > 15
    if native.library() is not None:
        assert "skipped" not in printed
    code = """
import torch
from flowzoo.operators import energy, registration
maps = torch.randn(2, 3, 4, 5, requires_grad=True)
torch.testing.assert_close(energy(maps), maps.square().mean(dim=1, keepdim=True))
assert torch.autograd.gradgradcheck(energy, maps.double(), fast_mode=True)
print(sorted(registration.REGISTERED))
"""
    assert "'energy'" in python(code, tree)


def test_files_that_an_operator_touches():
    package = [
        f"flowzoo/operators/energy/{name}.py" for name in ("__init__", "cpu", "cuda", "definition", "registered")
    ]
    lists = ["flowzoo/operators/__init__.py", "tests/operators/operator_samples.py"]
    kernels = ["kernels/energy.cpp", "kernels/energy.cu"]
    paths = {step.path for step in steps(TITLE) if step.path}
    assert paths == {*package, *kernels, *lists, "tests/operators/test_op_energy.py"}
    assert all((ROOT / path).is_file() for path in lists)
