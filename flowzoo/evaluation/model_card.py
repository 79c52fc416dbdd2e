"""Everything the zoo knows about one network, as text for the terminal and as a page of the documentation. No torch."""

import dataclasses
import re
import typing
from dataclasses import dataclass

from flowzoo import registry
from flowzoo.checkpoints.index import Entry, of_model
from flowzoo.evaluation.scores import HEADER, LEGEND, scores, scores_of_model
from flowzoo.evaluation.speed import conditions, speeds
from flowzoo.settings import field_types
from flowzoo.zoo.card import VERBS, Card


@dataclass(frozen=True)
class Setting:
    """A setting that users may change: its name, its value, what it may be, and what it is."""

    name: str
    value: str
    choices: tuple[str, ...]
    meaning: str = ""


def settings_of(settings: typing.Any) -> list[Setting]:
    """The fields of a settings dataclass, explained by its docstring and those of the classes that it extends."""
    kinds, meanings = field_types(settings), _meanings(type(settings))
    rows = []
    for entry in dataclasses.fields(settings):
        kind = kinds[entry.name]
        choices = typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()
        value = getattr(settings, entry.name)
        shown = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        rows.append(Setting(entry.name, shown, tuple(map(str, choices)), meanings.get(entry.name, "")))
    return rows


def _meanings(kind: type) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        _, _, attributes = (each.__doc__ or "").partition("Attributes:\n")
        for match in re.finditer(r"^ {8}([\w, ]+): (.*(?:\n {12}.*)*)", attributes, re.M):
            text = re.sub(r"\s+", " ", match[2])
            found.update(dict.fromkeys(re.split(r",\s*", match[1]), text))
    return found


def settings_table(settings: typing.Any) -> str:
    """One line a setting: name, value, and what it can be."""
    return "\n".join(
        f"  {row.name:24s} {row.value:24s} {' | '.join(row.choices)}".rstrip() for row in settings_of(settings)
    )


def text(card: Card) -> str:
    """For the terminal."""
    lines = [f"{card.name}: {card.summary}", "", f"paper       {card.paper}", f"parameters  {card.parameters:,d}"]
    lines += [f"{role:11s} {part}" for role, part in card.parts.items()]
    times = _times(card)
    if times:
        lines.append(f"{'time':11s} {times}")
    if card.notes:
        lines += ["", card.notes]
    lines += ["", "settings (--set KEY=VALUE)", settings_table(card.settings)]
    found = scores_of_model(card.name)
    return "\n".join(lines + (["", found] if found else []))


def _times(card: Card) -> str:
    measured = [f"{speed.shown()} ({speed.precision})" for speed in speeds() if speed.model == card.name]
    return f"{', '.join(measured)}: {conditions()}" if measured else ""


def markdown(card: Card) -> str:
    """The same, as a page."""
    facts = [("paper", card.paper), ("parameters", f"{card.parameters:,d}"), *card.parts.items()]
    times = _times(card)
    summary = card.summary.rstrip(".")
    lines = [f"# {card.name}", "", f"{summary[:1].upper()}{summary[1:]}.", ""]
    lines += _table(("", ""), [*facts, *([("time", times)] if times else [])])
    if card.notes:
        lines += ["", card.notes]
    run = f"flowzoo {VERBS[card.task]}" + ("" if card.task == "flow" else f" ... --model {card.name}")
    lines += ["", f"Network for {card.task}; command: `{run}`.", "", "## Settings", ""]
    lines += _table(
        ("setting", "value", "what"),
        [
            (f"`{row.name}`", f"`{row.value}`", row.meaning or ", ".join(f"`{choice}`" for choice in row.choices))
            for row in settings_of(card.settings)
        ],
    )
    published = of_model(card.name)
    if published:
        lines += [
            "",
            "## Weights",
            "",
            *_table(("tag", "trained on", "licence", "where"), map(_weights_row, published)),
        ]
    rows = [score.cells() for score in scores(published)]
    if rows:
        lines += ["", "## Scores", "", f"{LEGEND[0].upper()}{LEGEND[1:]}.", "", *_table(HEADER, rows)]
    return "\n".join(lines) + "\n"


def _weights_row(entry: Entry) -> tuple[str, ...]:
    where = "ships with the package" if entry.file else f"<{entry.url}>" if entry.url else entry.manual
    where = where or entry.not_importable
    return f"`{entry.tag}`", ", ".join(entry.trained_on), entry.licence, where


def _table(header: typing.Sequence[str], rows: typing.Iterable[typing.Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(header) + " |", "| --- " * len(header) + "|"]
    return lines + [
        "| " + " | ".join(cell.replace("|", "\\|").replace("*", "\\*") for cell in row) + " |" for row in rows
    ]


def zoo_table() -> str:
    """All networks, by task, as a page that links to their cards."""
    lines = ["# The zoo", ""]
    for task in dict.fromkeys(card.task for card in registry.cards().values()):
        lines += [f"## {task[0].upper()}{task[1:]}", ""]
        rows = [
            (f"[{card.name}]({card.name}.md)", f"{card.parameters:,d}", card.summary, card.paper)
            for card in registry.cards().values()
            if card.task == task
        ]
        lines += [*_table(("network", "parameters", "what", "paper"), rows), ""]
    return "\n".join(lines)


def speed_table() -> str:
    """All measured times as a page."""
    rows = [(f"`{speed.model}`", speed.precision, speed.shown()) for speed in speeds()]
    lines = ["# Speed", "", f"Measured {conditions()}.", "", *_table(("network", "precision", "seconds"), rows)]
    return "\n".join(lines) + "\n"
