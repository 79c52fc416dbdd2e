"""Runs a documented command in this process, on small inputs; what takes long is read by the real parser instead."""

import contextlib
import io
import itertools
import os
import re
import runpy
import shlex
import sys
import tomllib
from pathlib import Path
from typing import Literal

import pytest
from doc_blocks import ROOT
from doc_inputs import make_inputs

from flowzoo import registry, settings
from flowzoo.checkpoints import index
from flowzoo.cli import main
from flowzoo.cli.parser import VERBS, make_parser

Done = Literal["run", "checked"]
SHORTER = {"--count": "2", "--workers": "1", "--device": "cpu", "--procedural": "2", "--steps": "2"}
"""Values of options with which a command does the same, sooner, and on any machine."""
INSTEAD = {"train": ["--print-config"], "evaluate": ["--subset", "list"]}
"""Verbs that need hours or whole data sets: what is added to see that they know the names that they were given."""
HEAVY = ("bench", "distill", "export", "superresolve")
"""Verbs of which only the command line is read, unless FLOWZOO_RUN_DOCS=1."""


ELSEWHERE = {"zarr", "ray", "exr", "exr-half", "--videos", "--motion-score", "-", "0", "--stmap", "--arrows"}
"""Words of commands that need an extra, an archive, a stream or a camera: these are only read."""
ENDLESS = ("demo",)
"""Verbs that end when they are told to."""


def everything() -> bool:
    """Whether what takes minutes runs, too."""
    return os.environ.get("FLOWZOO_RUN_DOCS", "0") == "1"


def follow(command: str, folder: Path) -> Done:
    """Do what a line says, in `folder`, which is the current folder; fail the test where it is wrong."""
    words = list(shlex.split(command, comments=True))
    while words and re.fullmatch(r"\w+=.*", words[0]):
        words = words[1:]
    if words[0] == "torchrun":
        words = words[words.index("-m") + 1 :]
        return _flowzoo(words, folder, instead=True)
    name = Path(words[0]).name
    if name == "flowzoo":
        return _flowzoo(words, folder)
    if name in ("python", "python3"):
        return _python(words)
    if name == "pytest":
        return _pytest(words[1:])
    if name == "pip":
        return _pip(words[1:])
    pytest.fail(f"nobody knows how to check {words[0]!r}: write <!-- not run: WHY --> before the block")


def _flowzoo(words: list[str], folder: Path, instead: bool = False) -> Done:
    verb = words[1]
    words = [SHORTER.get(before, word) for before, word in itertools.pairwise(words)]
    if "--help" in words or verb not in VERBS:
        _succeeds(words)
        return "run"
    check_names(verb, words[1:])
    outside = bool(ELSEWHERE & set(words)) or any("://" in word or word.endswith(".exr") for word in words)
    if verb in ENDLESS or outside or (verb in HEAVY and not everything()):
        return "checked"
    if (instead or verb in INSTEAD) and not {"--list", "--print-config"} & set(words):
        _succeeds(words + INSTEAD.get(verb, ["--help"]))
        return "checked"
    make_inputs(words, folder)
    if verb == "synth" and "--count" not in words:
        words += ["--count", "1"]
    if verb == "bench":
        words += ["--repeat", "1"] if "operators" not in words else ["--seconds", "0.001"]
    _succeeds(words)
    return "run"


def check_names(verb: str, words: list[str]) -> None:
    """Let the real parser read the options, and look up the networks, settings and weights that they name.

    Raises:
        InputError: one of them is wrong.
    """
    arguments = vars(make_parser(verb).parse_args(words))
    model, weights, changes = (arguments.get(name) for name in ("model", "weights", "set"))
    if weights and "." not in weights:
        model = model or index.find(weights).model
    if model:
        card = registry.card(model)
        if changes and verb != "train":
            settings.replace(card.settings, f"network {model}", **settings.parse_settings(changes))


def check_options(command: str) -> None:
    """That the verb of a command in the text exists and takes the options; what stands for values may be anything."""
    words = command.split()
    assert words[1].isupper() or words[1].startswith("-") or words[1] in VERBS, f"no verb {words[1]!r}"
    if words[1] in VERBS:
        parser = make_parser(words[1])
        known = set(parser._option_string_actions)
        for action in parser._actions:
            for name, below in action.choices.items() if isinstance(action.choices, dict) else ():
                if name in words:
                    known |= set(below._option_string_actions)
        for option in re.findall(r"(?<![\w-])--?[a-z][\w-]*", " ".join(words[2:])):
            assert option in known, f"flowzoo {words[1]} has no option {option}"


def _succeeds(words: list[str]) -> None:
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        status = main(words)
    assert status == 0, f"status {status}: {errors.getvalue().strip()}"


def _python(words: list[str]) -> Done:
    """`python -m venv`, `python -m pytest`, or a script whose --help must know the options."""
    if words[1] == "-m":
        assert words[2] in ("venv", "pytest", "flowzoo", "build", "pip"), f"what is python -m {words[2]}?"
        return _pytest(words[3:]) if words[2] == "pytest" else "checked"
    script = ROOT / words[1]
    assert script.is_file(), f"there is no {words[1]}"
    shown = io.StringIO()
    before = sys.argv, list(sys.path)
    sys.argv = [words[1], "--help"]
    try:
        with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
            runpy.run_path(str(script), run_name="__main__")
    finally:
        sys.argv, sys.path[:] = before
    for option in [word.partition("=")[0] for word in words[2:] if word.startswith("--")]:
        assert option in shown.getvalue(), f"{words[1]} has no option {option}"
    return "checked"


def _pytest(words: list[str]) -> Done:
    """The files that it names must be there."""
    for word in words:
        assert not word.endswith(".py") or (ROOT / word).is_file(), f"there is no {word}"
    return "checked"


def _pip(words: list[str]) -> Done:
    """The extras and files that it names must be there."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for extras in re.findall(r"(?:\.|flowzoo)\[([\w,]+)\]", " ".join(words)):
        missing = set(extras.split(",")) - set(project["optional-dependencies"])
        assert not missing, f"no extra is called {', '.join(missing)}"
    for before, word in itertools.pairwise(words):
        assert before not in ("-c", "-r") or (ROOT / word).is_file(), f"there is no {word}"
    return "checked"
