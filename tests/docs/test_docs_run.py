"""Every command and every block of Python in README, docs/, the weights' cards and --help does what it says.

Commands run in this process on small inputs. Those of training and evaluation are read by the real parser, and the
presets, data sets, networks, settings and weights that they name are looked up; FLOWZOO_RUN_DOCS=1 also runs what
takes minutes. `pytest -s -k how_many` prints how many blocks there are of each kind.
"""

import ast
import contextlib
import io
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from doc_blocks import Block, Page, pages, read_page
from doc_commands import check_options, follow
from doc_inputs import make_inputs_of_python, names_of_python

PAGES = pages()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local_weights: None) -> Path:
    """An empty folder, the current one, in which a page is followed from its top to its end."""
    path = tmp_path / "reader"
    path.mkdir()
    monkeypatch.chdir(path)
    monkeypatch.setenv("FLOWZOO_NATIVE", "0")  # a build would take longer than all of this
    return path


def run_page(page: Page, folder: Path) -> Counter[str]:
    """Follow a page; the first mistake is an AssertionError with its line. Returns what was run and checked."""
    counts: Counter[str] = Counter()
    names = names_of_python()
    for block in page.blocks:
        if block.not_run or not block.kind:
            counts["marked" if block.not_run else "text"] += 1
            if block.kind == "python":
                found = imports(block.content)
                run_python(page, replace(block, content="" if "zarr" in found or "onnx" in found else found), names)
        elif block.kind == "python":
            run_python(page, block, names)
            counts["python"] += 1
        else:
            for line, command in block.commands():
                if page.name.endswith("--help"):  # its examples are alternatives
                    folder = fresh(folder)
                try:
                    counts[follow(command, folder)] += 1
                except BaseException as error:  # pytest.fail is one
                    raise AssertionError(f"{page.name}, line {line}: {command}\n{error}") from error
    for line, command in page.inline:
        try:
            check_options(command)
        except AssertionError as error:
            raise AssertionError(f"{page.name}, line {line}: {command}\n{error}") from error
    return counts


def fresh(folder: Path) -> Path:
    """Another empty folder, now the current one."""
    path = folder.parent / f"{len(list(folder.parent.iterdir()))}"
    path.mkdir()
    os.chdir(path)
    return path


def imports(code: str) -> str:
    """Only the imports at its top level: they hold for a marked block, too."""
    found = [part for part in ast.parse(code).body if isinstance(part, ast.Import | ast.ImportFrom)]
    return ast.unparse(ast.Module(found, []))


def run_python(page: Page, block: Block, names: dict[str, object]) -> None:
    """A block among the names of its page."""
    content = block.content.replace('device="cuda"', 'device="cpu"')
    code = compile("\n" * block.line + content, page.name, "exec")
    make_inputs_of_python(content, Path.cwd())
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(block.given, names)
            exec(code, names)
    except Exception as error:
        raise AssertionError(f"{page.name}, block at line {block.line}: {type(error).__name__}: {error}") from error


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_a_reader_can_do_it(page: Page, folder: Path) -> None:
    print(page.name, dict(run_page(page, folder)))


def test_how_many_there_are() -> None:
    kinds = Counter(block.kind or "text" for page in PAGES for block in page.blocks)
    marked = sum(bool(block.not_run) for page in PAGES for block in page.blocks)
    lines = sum(len(block.commands()) for page in PAGES for block in page.blocks if block.kind == "commands")
    print(f"{dict(kinds)}, {marked} marked, {lines} commands, {sum(len(page.inline) for page in PAGES)} in the text")
    assert {"README.md", "docs/infer.md", "weights/wren.md", "flowzoo infer --help"} <= {page.name for page in PAGES}
    assert kinds["python"] > 5
    assert lines > 60


WRONG = [
    "```\nflowzoo infer a.png b.png --ocllusion\n```",
    "```sh\nflowzo infer a.png b.png\n```",
    "```\nflowzoo weights list --network pwcnet\n```",
    "```\nflowzoo infer a.png b.png --model pwc-net\n```",
    "```\nflowzoo evaluate sintel --root Sintel\n```",
    "```\nflowzoo evaluate sintel-clean --root Sintel --weights pwcnet-sintle\n```",
    "```\nflowzoo train wren-default --root pairs\n```",
    "```\nflowzoo train default --root pairs --set stepz=4\n```",
    "```\ntorchrun --nproc-per-node 2 -m flowzoo train defautl --root pairs\n```",
    "```\nflowzoo bench --modell pwcnet\n```",
    "```\npython tools/time_evaluation.py --rooot x\n```",
    "```\npython tools/no_such_tool.py\n```",
    "```sh\npip install 'flowzoo[viedo]'\n```",
    "```python\nflowzoo.create('pwcnet', cost_volum='warp')\n```",
    "```python\nflowzoo.estimat('wren', first, second)\n```",
    "<!-- not run: it needs a GPU -->\n```python\nfrom flowzoo.datasets.catalog import open_dataset\n```",
    "Say `flowzoo weights list --network pwcnet`.",
    "Say `flowzoo weight list`.",
]


@pytest.mark.parametrize("text", WRONG, ids=range(len(WRONG)))
def test_a_wrong_line_is_found(text: str, folder: Path) -> None:
    with pytest.raises(AssertionError, match=r"page\.md"):
        run_page(read_page("page.md", text), folder)


def test_a_marked_block_is_left_alone_and_says_why() -> None:
    (block,) = read_page("p", "<!-- not run: it needs a GPU -->\n```sh\nrm -r everything\n```\n").blocks
    assert (block.kind, block.not_run) == ("commands", "it needs a GPU")
    (block,) = read_page("p", "<!-- given:\nx = 1\ny = 2\n-->\n\n   ```python\n   z = x\n   ```\n").blocks
    assert (block.given, block.content) == ("x = 1\ny = 2", "z = x\n")
