"""What is checked is the same everywhere, and files that say one thing twice agree."""

import re
import tomllib

import pytest
from source_tree import ROOT

import flowzoo

CHECKS = {"ruff check", "ruff format", "mypy", "lint-imports"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def checks_in(path):
    """The checks that a file runs: a tool and its verb, at the start of a command."""
    text = (ROOT / path).read_text()
    return set(
        re.findall(r"^\W*(?:(?:run|entry): |\.venv/bin/)(ruff check|ruff format|mypy|lint-imports)\b", text, re.M)
    )


def versions_in(path):
    """Package -> version of a constraints file."""
    return dict(re.findall(r"^([\w-]+)==([\w.]+)$", (ROOT / path).read_text(), re.M))


@pytest.mark.parametrize("path", [".ci/run", ".pre-commit-config.yaml", ".github/workflows/tests.yml"])
def test_the_same_checks_run_before_a_commit_on_servers_and_in_a_clone(path):
    assert checks_in(path) == CHECKS


def test_the_oldest_versions_are_the_bounds_that_the_package_states():
    extras = PROJECT["optional-dependencies"]
    stated = [*PROJECT["dependencies"], *extras["video"], *extras["spring"]]
    bounds = dict(re.fullmatch(r"([\w-]+)>=([\w.]+)", entry).groups() for entry in stated)
    oldest = versions_in("constraints-oldest.txt")
    for name, bound in bounds.items():
        assert re.match(re.escape(bound) + r"(\.|$)", oldest[name]), name
    python = PROJECT["requires-python"].removeprefix(">=")
    assert (
        f'python: "{python}", constraints: constraints-oldest.txt' in (ROOT / ".github/workflows/tests.yml").read_text()
    )


def test_every_dependency_has_a_tested_version():
    stated = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
    names = {re.match(r"[\w-]+", entry)[0] for entry in stated}
    assert names <= set(versions_in("constraints.txt"))


def test_the_version_is_the_same_in_both_places():
    assert PROJECT["version"] == flowzoo.__version__
