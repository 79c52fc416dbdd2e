"""`flowzoo models`: the zoo as a table, or the card of one network."""

import argparse
import dataclasses
import typing

HELP = "The zoo as a table; with NAME that network's card: paper, parts, settings, weights, scores."

EXAMPLES = """examples:
  flowzoo models
  flowzoo models "liteflownet*"
  flowzoo models pwcnet
  flowzoo models --settings        every setting of every network, with its values"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    parser.epilog = EXAMPLES
    parser.add_argument("name", nargs="?", default="*", metavar="NAME", help="a network, or a pattern with * and ?")
    parser.add_argument("--task", metavar="TASK", help="flow, super-resolution, prediction or interpolation")
    parser.add_argument("--settings", action="store_true", help="list the settings that can be changed")


def run(arguments: argparse.Namespace) -> None:
    """Print a table or a card.

    Raises:
        InputError: there is no such network.
    """
    from flowzoo import registry

    names = registry.list_models(arguments.name, arguments.task)
    if not any(letter in arguments.name for letter in "*?["):
        print_card(registry.card(arguments.name))
    elif arguments.settings:
        for name in names:
            print(f"{name}\n{settings_table(registry.card(name).settings)}\n")
    else:
        width = max(map(len, names), default=4)
        print(f"{'model':{width}s}  {'parameters':>10s}  what")
        for name in names:
            card = registry.card(name)
            print(f"{name:{width}s}  {card.parameters:10,d}  {card.summary}")
        print("\n`flowzoo models NAME` shows a card; `flowzoo weights list` what is published for it")


def print_card(card: "typing.Any") -> None:
    """Everything the zoo says about one network."""
    print(f"{card.name}: {card.summary}\n\npaper       {card.paper}\nparameters  {card.parameters:,d}")
    for role, part in card.parts.items():
        print(f"{role:11s} {part}")
    if card.notes:
        print(f"\n{card.notes}")
    print(f"\nsettings (--set KEY=VALUE)\n{settings_table(card.settings)}")
    scores = scores_text(card.name)
    if scores:
        print(f"\n{scores}")


def settings_table(settings: "typing.Any") -> str:
    """One line a setting: name, value, and what it can be."""
    from flowzoo.settings import field_types

    kinds = field_types(settings)
    rows = []
    for entry in dataclasses.fields(settings):
        kind = kinds[entry.name]
        choices = typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()
        value = getattr(settings, entry.name)
        shown = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        rows.append(f"  {entry.name:24s} {shown:24s} {' | '.join(map(str, choices))}".rstrip())
    return "\n".join(rows)


def scores_text(name: str) -> str:
    """Weights of this network with published and measured scores."""
    from flowzoo.evaluation.scores import scores_of_model

    return scores_of_model(name)
