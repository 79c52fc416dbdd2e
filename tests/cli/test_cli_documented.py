"""Every command line in README, docs and --help is one that the program takes."""

import re
import shlex
from pathlib import Path

import pytest

from flowzoo.cli.parser import VERBS, make_parser
from flowzoo.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


def documented() -> list[tuple[str, str]]:
    """Source and command line, without the remarks beside it."""
    texts = {
        path.name: path.read_text(encoding="utf-8")
        for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    }
    texts |= {f"{verb} --help": make_parser(verb).format_help() for verb in VERBS}
    found = []
    for source, text in texts.items():
        for line in text.replace("\\\n", " ").splitlines():
            command = re.match(r"\s*(?:torchrun .* -m )?(flowzoo [a-z]+(?: .*)?)$", line)
            if command:
                words = re.split(r" {2,}| #", command[1])[0].strip()
                if words.split()[1] in VERBS:
                    found.append((source, words))
    return found


COMMANDS = documented()


def test_there_are_many() -> None:
    sources = {source for source, _ in COMMANDS}
    assert {"README.md", "evaluation.md", "training.md", "infer --help"} <= sources
    assert len(COMMANDS) > 40


@pytest.mark.parametrize(("source", "command"), COMMANDS, ids=[f"{s}: {c}" for s, c in COMMANDS])
def test_it_is_taken(source: str, command: str) -> None:
    words = shlex.split(command)[1:]
    if "--help" in words:
        return
    try:
        make_parser(words[0]).parse_args(words[1:])
    except InputError as error:
        pytest.fail(f"{source}: {command}: {error}")
