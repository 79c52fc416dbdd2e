"""Questions about a tree of sources that the tests of this folder ask."""

import ast
import shutil
from collections.abc import Iterator
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "flowzoo"


def copy_of_package(folder: Path) -> Path:
    """The package and its settings for tools, copied into `folder`; returns the copied package."""
    ignored = shutil.ignore_patterns("__pycache__", "*.safetensors")
    shutil.copytree(PACKAGE, folder / "flowzoo", ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder / "flowzoo"


def imports(package: str) -> dict[str, set[str]]:
    """Module -> modules of `package` that it imports, inside functions too; not those that only type checkers see."""
    graph = grimp.build_graph(package, exclude_type_checking_imports=True, cache_dir=None)
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


def circles(imported: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that reach each other by imports, sorted."""
    reached = {module: _reached(module, imported) for module in imported}
    groups = {
        frozenset(other for other in reached[module] if module in reached[other])
        for module in imported
        if module in reached[module]
    }
    return sorted(sorted(group) for group in groups)


def _reached(start: str, imported: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    ahead = list(imported[start])
    while ahead:
        module = ahead.pop()
        if module not in found:
            found.add(module)
            ahead += imported[module]
    return found


def functions(folder: Path) -> Iterator[tuple[str, int]]:
    """("path:name", number of lines) of every function and method below `folder`, decorators left out."""
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                yield f"{path.relative_to(folder).as_posix()}:{node.name}", node.end_lineno - node.lineno + 1
