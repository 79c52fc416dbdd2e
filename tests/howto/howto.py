"""Follows a how-to of CONTRIBUTING.md literally, in a copy of the tree.

A how-to is a section. What it says to do is in its fenced blocks, in order; the line before a block says with what:

- "`PATH`:" is a new file with this content;
- "`PATH`, at the end:" is appended to a file;
- "`PATH`, after `LINE`:" goes after that line of a file, which is there once;
- a block marked sh is run, line by line, and must succeed; `flowzoo`, `python` and `pytest` are this environment's.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = shutil.ignore_patterns(
    ".*", "__pycache__", "*.egg-info", "build", "dist", "runs", "docs", "howto", "architecture"
)
COMMANDS = {
    "flowzoo": [sys.executable, "-m", "flowzoo"],
    "pytest": [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"],
    "python": [sys.executable],
}
TARGET = re.compile(r"`(?P<path>[^`]+)`(?P<end>, at the end)?(?:, after `(?P<line>[^`]+)`)?:$")


@dataclass(frozen=True)
class Step:
    """One block: a command's lines without `path`, else a file, or what is added to one."""

    content: str
    path: str = ""
    at_the_end: bool = False
    after: str = ""


def steps(title: str, text: str | None = None) -> list[Step]:
    """What the section `title` says to do."""
    text = (ROOT / "CONTRIBUTING.md").read_text() if text is None else text
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    return [_step(*block) for block in _blocks(sections[title])]


def _blocks(section: str) -> Iterator[tuple[str, str, str]]:
    """(the last line of text before it, language, content) of each fenced block."""
    before, language, content = "", None, []
    for line in section.splitlines():
        if language is None and line.startswith("```"):
            language, content = line.removeprefix("```"), []
        elif language is None:
            before = line.strip() or before
        elif line == "```":
            yield before, language, "".join(content)
            before, language = "", None
        else:
            content.append(f"{line}\n")


def _step(before: str, language: str, content: str) -> Step:
    target = TARGET.search(before)
    if language == "sh":
        return Step(content)
    assert target, f"nobody says what to do with the block after {before!r}"
    return Step(content, target["path"], bool(target["end"]), target["line"] or "")


def copy_of_tree(folder: Path) -> Path:
    """The repository without what is hidden, built or documentation."""
    copy = folder / "flowzoo"
    shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
    return copy


def follow(title: str, tree: Path) -> str:
    """Do what the section says in `tree`; returns what the commands printed."""
    printed = []
    for step in steps(title):
        if step.path:
            change(tree / step.path, step)
        else:
            printed += [run(shlex.split(line), tree) for line in step.content.splitlines() if line]
    return "".join(printed)


def change(path: Path, step: Step) -> None:
    """Write, extend or edit one file."""
    if step.at_the_end:
        path.write_text(path.read_text() + step.content)
    elif step.after:
        lines = path.read_text().splitlines(keepends=True)
        places = [index for index, line in enumerate(lines) if line.strip() == step.after]
        assert len(places) == 1, f"{path} has {len(places)} lines {step.after!r}"
        lines.insert(places[0] + 1, step.content)
        path.write_text("".join(lines))
    else:
        assert not path.exists(), f"{path} is there already"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(step.content)


def run(command: list[str], tree: Path) -> str:
    """Run one command in `tree`, with its package; returns what it printed."""
    environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    whole = [*COMMANDS[command[0]], *command[1:]]
    done = subprocess.run(whole, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{shlex.join(command)}: status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def python(code: str, tree: Path) -> str:
    """What a piece of Python prints in `tree`."""
    return run(["python", "-c", code], tree)
