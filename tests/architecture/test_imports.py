"""Rooms import downwards only, and nothing imports in a circle."""

import subprocess
import sys

import pytest
from source_tree import ROOT, circles, copy_of_package, imports


def lint_imports(folder):
    """What import-linter says about the package in `folder`: (exit status, report)."""
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", code, "--no-cache", "--no-logo"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_the_contract_of_the_rooms_is_kept():
    status, report = lint_imports(ROOT)
    assert status == 0, report


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("blocks/context.py", "import flowzoo.models.pwcnet"),
        ("operators/warp.py", "def late():\n    from flowzoo.cli import parser"),
        ("files/flow.py", "from flowzoo.training import loop"),
    ],
    ids=["upwards", "inside-a-function", "from-the-ground"],
)
def test_an_import_upwards_breaks_the_contract(tmp_path, module, line):
    with (copy_of_package(tmp_path) / module).open("a") as file:
        file.write(f"\n{line}\n")
    status, report = lint_imports(tmp_path)
    assert status == 1
    assert "1 broken" in report
    assert f"flowzoo.{module.removesuffix('.py').replace('/', '.')} ->" in report


def test_a_room_outside_the_contract_breaks_it(tmp_path):
    room = copy_of_package(tmp_path) / "attic"
    room.mkdir()
    (room / "__init__.py").touch()
    status, report = lint_imports(tmp_path)
    assert status == 1
    assert "attic" in report


def test_no_modules_import_each_other():
    assert circles(imports("flowzoo")) == []


def test_circles_are_seen_whole_and_apart():
    imported = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set(), "e": {"f"}, "f": {"e", "a"}, "g": {"g"}}
    assert circles(imported) == [["a", "b", "c"], ["e", "f"], ["g"]]


def test_circles_inside_a_room_and_inside_functions_are_seen(tmp_path, monkeypatch):
    room = tmp_path / "house_with_a_circle" / "room"
    room.mkdir(parents=True)
    for package in (room.parent, room):
        (package / "__init__.py").touch()
    (room / "egg.py").write_text("from house_with_a_circle.room import hen\n")
    (room / "hen.py").write_text("def lay():\n    import house_with_a_circle.room.egg\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert circles(imports("house_with_a_circle")) == [["house_with_a_circle.room.egg", "house_with_a_circle.room.hen"]]
