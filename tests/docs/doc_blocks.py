"""What the documentation tells its readers to type: blocks of commands and of Python, and commands in the text.

A block that cannot be run says why in a comment before it, which no reader sees:

    <!-- not run: it needs a GPU -->

A block of Python that takes up names which its page does not make says what stands for them:

    <!-- given: frames = torch.rand(1, 5, 3, 64, 64) -->
"""

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

from flowzoo.cli.parser import VERBS, make_parser

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("flowzoo", "torchrun", "python", "python3", "pytest", "pip", ".venv/bin/pip", ".venv/bin/python", "git")
"""A block without a language that starts with one of these holds commands."""
SHELL = ("sh", "bash", "shell", "console")
_MARK = re.compile(r"<!--\s*(?P<kind>not run|given):(?P<text>.*?)-->", re.S)


@dataclass(frozen=True)
class Block:
    """One fenced block, or the examples of one verb's help.

    Attributes:
        line: where it starts in its page.
        kind: "commands", "python", or "" for what nobody runs (trees, tables, other languages).
        content: without the fence.
        not_run: why it is not run; "" where it is.
        given: Python that comes before it.
    """

    line: int
    kind: str
    content: str
    not_run: str = ""
    given: str = ""

    def commands(self) -> list[tuple[int, str]]:
        """(line in the page, command) without the remarks beside them, continued lines joined."""
        found, number = [], self.line
        for line in self.content.replace("\\\n", "\0").splitlines():
            command = re.split(r" {2,}(?=\S)| #|\A#", line.replace("\0", " ").strip())[0].strip()
            if command:
                found.append((number + 1, re.sub(r"\s+", " ", command)))
            number += 1 + line.count("\0")
        return found


@dataclass(frozen=True)
class Page:
    """What one page says: its blocks in order, and the commands of its text as (line, command)."""

    name: str
    blocks: tuple[Block, ...]
    inline: tuple[tuple[int, str], ...] = ()


def pages() -> list[Page]:
    """README, every page under docs/, the cards of the weights that ship, and every verb's help."""
    paths = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
    paths += [*sorted(ROOT.glob("weights/*.md")), *sorted(ROOT.glob("examples/*.md"))]
    found = [read_page(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")) for path in paths]
    return found + [help_page(verb) for verb in VERBS]


def help_page(verb: str) -> Page:
    """The examples of `flowzoo VERB --help`."""
    lines = (make_parser(verb).epilog or "").splitlines()
    commands = [line for line in lines if line.startswith(("  flowzoo ", "  torchrun "))]
    return Page(f"flowzoo {verb} --help", (Block(0, "commands", "\n".join(commands)),))


def read_page(name: str, text: str) -> Page:
    """A page of Markdown."""
    blocks, opened, mark_from = [], None, 0
    lines = text.splitlines()
    for index, line in enumerate(lines):
        fence = re.match(r"\s*```+\s*([\w+-]*)", line)
        if fence is None:
            continue
        if opened is None:
            opened = (index, fence[1])
            continue
        start, language = opened
        content = textwrap.dedent("\n".join(lines[start + 1 : index]) + "\n")
        marks = {mark["kind"]: mark["text"] for mark in _MARK.finditer(_before(lines, mark_from, start))}
        given = textwrap.dedent(marks.get("given", "").lstrip(" ")).strip()
        blocks.append(Block(start + 1, _kind(language, content), content, marks.get("not run", "").strip(), given))
        opened, mark_from = None, index + 1
    return Page(name, tuple(blocks), tuple(_inline(text)))


def _before(lines: list[str], first: int, fence: int) -> str:
    """The comments right before a fence."""
    start = fence
    while start > first and (not lines[start - 1].strip() or lines[start - 1].rstrip().endswith("-->")):
        start -= 1
        if lines[start].rstrip().endswith("-->"):
            while start > first and "<!--" not in lines[start]:
                start -= 1
    return "\n".join(lines[start:fence])


def _kind(language: str, content: str) -> str:
    if language in ("python", "py"):
        return "python"
    if language in SHELL:
        return "commands"
    words = [word for word in content.split(maxsplit=8) if "=" not in word]
    return "commands" if not language and words and words[0] in PROGRAMS else ""


def _inline(text: str) -> list[tuple[int, str]]:
    """Commands in the text itself: `flowzoo weights list --model NAME`."""
    prose = re.sub(r"^\s*```.*?^\s*```", lambda block: "\n" * block[0].count("\n"), text, flags=re.S | re.M)
    found = re.finditer(r"`(flowzoo\s+[^`]+)`", prose)
    return [(prose.count("\n", 0, match.start()) + 1, re.sub(r"\s+", " ", match[1])) for match in found]
