"""Everything has a room, docs/layout.md names it, and functions stay short."""

import itertools
import re
import tomllib

import pytest
from source_tree import PACKAGE, ROOT, functions

LOOSE = {
    "__init__": "the front door",
    "__main__": "python -m flowzoo",
    "assets": "ground: where data files of the package are",
    "cache": "ground: files kept between runs",
    "charts": "curves and points as SVG, for training, evaluation and the command line",
    "creation": "above models and checkpoints, below everything that wants a network",
    "devices": "ground: names of devices and precisions",
    "distributed": "ground: one process of several",
    "errors": "ground: the user's mistakes",
    "extras": "ground: what is said where an optional package is missing",
    "freed_memory": "ground: what the C library does with it",
    "network": "ground: what a network is",
    "registry": "ground: names to networks",
    "settings": "ground: text to dataclasses",
    "visualise": "one picture of flow, used by files, evaluation and the command line",
}
"""Modules at the root that no room holds, each with its reason."""

LONGEST_FUNCTION = 60


def rooms_and_root_modules():
    """As docs/layout.md writes them."""
    rooms = {f"flowzoo/{path.name}" for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    modules = {f"flowzoo/{path.name}" for path in PACKAGE.glob("*.py") if not path.name.startswith("__")}
    return rooms | modules


def named(text):
    """Rooms and root modules that a page names: `flowzoo/room`, `flowzoo/module.py`."""
    return set(re.findall(r"`(flowzoo/\w+(?:\.py)?)`", text))


def test_no_module_is_loose_at_the_root_without_a_reason():
    assert {path.stem for path in PACKAGE.glob("*.py")} == set(LOOSE)


def test_the_page_about_the_layout_names_every_room_and_root_module_and_nothing_else():
    text = (ROOT / "docs" / "layout.md").read_text()
    assert named(text) == rooms_and_root_modules()
    paths = re.findall(r"`((?:flowzoo|kernels|weights|tests|tools|docs)/[\w/.-]*)`", text)
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_page_lists_the_rooms_from_top_to_bottom_as_the_contract_does():
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    floors = {name: floor for floor, names in enumerate(contract["layers"]) for name in names.split(" : ")}
    rows = re.findall(r"^\| (`flowzoo/.*?) \|", (ROOT / "docs" / "layout.md").read_text(), re.MULTILINE)
    listed = [[floors[re.sub(r"^flowzoo/|\.py$", "", name)] for name in sorted(named(row))] for row in rows]
    assert listed
    assert all(max(upper) < min(lower) for upper, lower in itertools.pairwise(listed))


def test_a_room_that_a_page_leaves_out_or_makes_up_is_seen():
    text = (ROOT / "docs" / "layout.md").read_text()
    assert "flowzoo/attic" in named(text + "`flowzoo/attic`")
    assert "flowzoo/datasets" not in named(text.replace("`flowzoo/datasets`", "data sets"))


def test_functions_are_short():
    assert {name: lines for name, lines in functions(PACKAGE) if lines > LONGEST_FUNCTION} == {}


@pytest.mark.parametrize("lines", [LONGEST_FUNCTION, LONGEST_FUNCTION + 1])
def test_a_long_method_is_seen(tmp_path, lines):
    body = "\n".join("        pass" for _ in range(lines - 1))
    (tmp_path / "long.py").write_text(f"class Thing:\n    @property\n    def name(self):\n{body}\n")
    assert list(functions(tmp_path)) == [("long.py:name", lines)]
