"""Measured times are told once, and the accuracy beside them is of weights that do not know the data."""

import re
from pathlib import Path

import pytest

from flowzoo import registry
from flowzoo.checkpoints.index import entries
from flowzoo.cli import main
from flowzoo.evaluation.model_card import markdown, text
from flowzoo.evaluation.speed import accuracy_chart, speeds

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_the_readme_has_the_same_times():
    rows = re.findall(r"^\| `([\w-]+)`(?:, (bfloat16))? \| ([\d.]+)(?: to ([\d.]+))? \| \w+ \|", README, re.M)
    stated = [(name, kind or "float32", (float(low), float(high or low))) for name, kind, low, high in rows]
    assert stated == [(speed.model, speed.precision, speed.seconds) for speed in speeds()]


def test_every_measured_network_is_in_the_zoo():
    assert {speed.model for speed in speeds()} <= set(registry.cards())


@pytest.mark.parametrize("dataset", ["sintel-clean", "kitti-2015"])
def test_weights_that_were_trained_on_the_data_are_not_shown(dataset):
    chart, missing = accuracy_chart(dataset)
    (series,) = chart.series
    shown = [label.split(", ") for label in series.labels]
    assert {name for name, _ in shown} | set(missing) == {speed.model for speed in speeds()}
    for _, tag in shown:
        assert not any(dataset.split("-")[0] in name.lower() for name in entries()[tag].trained_on)


def test_the_command_draws_it(tmp_path, capsys):
    assert main(["models", "--plot", str(tmp_path / "zoo.svg")]) == 0
    assert "pwcnet" in (tmp_path / "zoo.svg").read_text()
    assert main(["models", "--plot", str(tmp_path / "zoo.png")]) == 2
    assert main(["models", "--plot", str(tmp_path / "zoo.svg"), "--dataset", "tss"]) == 2
    assert main(["models", "--dataset", "tss"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 3


@pytest.mark.parametrize("name", list(registry.cards()))
def test_terminal_and_page_say_the_same(name):
    card = registry.card(name)
    shown, page = text(card), markdown(card).replace("\\|", "|").replace("\\*", "*")
    for fact in (card.name, card.paper, f"{card.parameters:,d}", card.notes, *card.parts.values()):
        assert fact in shown
        assert fact in page
    for entry in entries().values():
        if entry.model == name:
            assert f"`{entry.tag}`" in page
