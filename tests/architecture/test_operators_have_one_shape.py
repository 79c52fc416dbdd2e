"""Every operator with kernels is a package of the same files, and every kernel belongs to one.

What would make cpu.py long stands beside it in a cpu_NAME.py.
"""

import re

import pytest
from source_tree import PACKAGE, ROOT

FILES = {"__init__.py", "definition.py", "registered.py", "cpu.py", "cuda.py"}
UNREGISTERED = {"channel_doubling", "weighted_sums"}
"""Their kernels serve inference alone; gradients and traces take their definitions."""
PACKAGES = sorted(path.parent for path in (PACKAGE / "operators").glob("*/__init__.py"))
KERNELS = ROOT / "kernels"
ENTRY = re.compile(r'^(?:API|extern "C" .*\)) int flowzoo_(\w+)\(', re.MULTILINE)

FURTHER_SOURCES = {"sampled_volume": {"sampled_gradient", "sampled_difference_gradient"}}
"""CUDA sources beside the one with the operator's name: gradients that take another plan."""


def called(text):
    """Names of C++ kernels that a module calls, and CUDA sources that it launches."""
    return set(re.findall(r'native_call\.run\(\s*"(\w+)"', text)), set(re.findall(r'"(\w+)\.cu"', text))


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_a_package_has_the_files_that_every_operator_has(package):
    files = {path.name for path in package.iterdir() if path.name != "__pycache__"}
    further = {name for name in files if name.startswith("cpu_")}
    assert {"__init__.py", "definition.py"} <= files <= FILES | further
    assert "cpu.py" in files or not further
    for name in files & {"cpu.py", "cuda.py"} | further:
        assert ("registered.py" in files) != (package.name in UNREGISTERED)
        native, cuda = called((package / name).read_text())
        assert (bool(native), bool(cuda)) == (name.startswith("cpu"), name == "cuda.py")
        assert cuda <= {package.name} | FURTHER_SOURCES.get(package.name, set())


def test_every_kernel_is_called_by_one_operator_and_nobody_else():
    modules = {path: called(path.read_text()) for path in PACKAGE.rglob("*.py")}
    native = [name for names, _ in modules.values() for name in names]
    entries = [name for path in KERNELS.glob("*.cpp") for name in ENTRY.findall(path.read_text())]
    assert sorted(native) == sorted(entries)
    assert sorted(name for _, names in modules.values() for name in names) == sorted(
        path.stem for path in KERNELS.glob("*.cu")
    )
    callers = {path.parent for path, found in modules.items() if any(found)}
    assert callers <= set(PACKAGES)


def test_calls_of_kernels_are_seen():
    text = 'native_call.run(\n    "one", memory)\nif native_call.run("two", x): pass\nLaunch("three.cu", defines)'
    assert called(text) == ({"one", "two"}, {"three"})
