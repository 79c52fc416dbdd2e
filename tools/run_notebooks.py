"""Runs the notebooks of docs/notebooks from a clean kernel and keeps their outputs: python tools/run_notebooks.py

Needs the extra `notebooks`. What differs from run to run (times, places of temporary files) is taken out.
"""

import argparse
import os
import re
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "notebooks"
LARGEST = 300_000
"""Characters of a notebook's outputs."""


def run(path: Path) -> Any:
    """The notebook with the outputs of a clean kernel in the notebook's folder; its error is raised."""
    import nbformat
    from nbclient import NotebookClient

    book = nbformat.read(path, as_version=4)
    # `!flowzoo` is that of this environment.
    before = os.environ["PATH"]
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), before])
    try:
        client = NotebookClient(book, timeout=1200, resources={"metadata": {"path": str(path.parent)}})
        client.execute(env=os.environ | {"OMP_NUM_THREADS": "1"})
    finally:
        os.environ["PATH"] = before
    return tidy(book)


def tidy(book: Any) -> Any:
    """Without what differs from run to run."""
    for cell in book.cells:
        cell.metadata = {}
        for output in cell.get("outputs", []):
            output.pop("execution_count", None)
            if "text" in output:
                output["text"] = re.sub(r"\S*[/\\]tmp\w+", "FOLDER", output["text"])
        if cell.cell_type == "code":
            cell.execution_count = None
            # The lines of a command arrive in pieces, and progress on another stream.
            cell.outputs = [entry for entry in cell.outputs if entry.get("name") != "stderr"]
    return book


def main() -> None:
    """Run those that are named, or all."""
    import nbformat

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="of notebooks (default: all)")
    names = parser.parse_args().names or sorted(path.stem for path in FOLDER.glob("*.ipynb"))
    for name in names:
        path = FOLDER / f"{name}.ipynb"
        nbformat.write(run(path), path)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
