"""The notebooks: their commands and code are right, the outputs that they keep small; FLOWZOO_RUN_DOCS=1 runs them."""

import ast
import importlib
import json
import re
from pathlib import Path

import pytest
from doc_blocks import ROOT
from doc_commands import check_names, check_options, everything

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
LARGEST = 400_000
"""Bytes of a notebook with its outputs."""


def code_of(path: Path) -> list[str]:
    book = json.loads(path.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == "code"]


def test_there_are_three() -> None:
    assert len(NOTEBOOKS) == 3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_commands_and_imports_are_right(path: Path) -> None:
    for cell in code_of(path):
        for command in re.findall(r"^!(flowzoo .*)$", cell, re.M):
            check_options(command)
            words = re.sub(r"\{\w+\}", "folder.x", command.replace("{changes} ", "")).split()
            check_names(words[1], words[2:])
        tree = ast.parse(re.sub(r"^!.*$", "pass", cell, flags=re.M))
        for part in tree.body:
            if isinstance(part, ast.ImportFrom) and (part.module or "").startswith("flowzoo"):
                exec(ast.unparse(part), {})


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_kept_outputs_are_small_and_no_error(path: Path) -> None:
    book = json.loads(path.read_text(encoding="utf-8"))
    outputs = [output for cell in book["cells"] for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert path.stat().st_size < LARGEST
    assert "/tmp" not in json.dumps(outputs)


@pytest.mark.skipif(not everything(), reason="starts a kernel and trains: FLOWZOO_RUN_DOCS=1")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_they_run_from_a_clean_kernel(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.syspath_prepend(ROOT / "tools")
    importlib.import_module("run_notebooks").run(path)
