"""`flowzoo models`: the zoo as a table, or the card of one network."""

import argparse

from flowzoo.errors import InputError

HELP = "The zoo as a table; with NAME that network's card: paper, parts, settings, weights, scores."

EXAMPLES = """examples:
  flowzoo models
  flowzoo models "liteflownet*"
  flowzoo models pwcnet
  flowzoo models --plot zoo.svg    accuracy against time
  flowzoo models --settings        every setting of every network, with its values"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    parser.epilog = EXAMPLES
    parser.add_argument("name", nargs="?", default="*", metavar="NAME", help="a network, or a pattern with * and ?")
    parser.add_argument("--task", metavar="TASK", help="flow, super-resolution, prediction or interpolation")
    parser.add_argument(
        "--plot", metavar="FILE", help="draw published accuracy against measured time into this .svg file"
    )
    parser.add_argument("--dataset", metavar="NAME", help="of the scores of --plot (default: sintel-clean)")
    parser.add_argument("--settings", action="store_true", help="list the settings that can be changed")


def run(arguments: argparse.Namespace) -> None:
    """Print a table or a card.

    Raises:
        InputError: there is no such network.
    """
    from flowzoo import registry
    from flowzoo.evaluation import model_card

    if arguments.plot is not None:
        plot(arguments.plot, arguments.dataset or "sintel-clean")
        return
    if arguments.dataset is not None:
        raise InputError("--dataset is for --plot FILE: give both")
    names = registry.list_models(arguments.name, arguments.task)
    if not any(letter in arguments.name for letter in "*?["):
        print(model_card.text(registry.card(arguments.name)))
    elif arguments.settings:
        for name in names:
            print(f"{name}\n{model_card.settings_table(registry.card(name).settings)}\n")
    else:
        width = max(map(len, names), default=4)
        print(f"{'model':{width}s}  {'parameters':>10s}  what")
        for name in names:
            card = registry.card(name)
            print(f"{name:{width}s}  {card.parameters:10,d}  {card.summary}")
        print("\n`flowzoo models NAME` shows a card; `flowzoo weights list` what is published for it")


def plot(file: str, dataset: str) -> None:
    """Draw accuracy against time.

    Raises:
        InputError: no such scores, or a file of another kind.
    """
    from pathlib import Path

    from flowzoo.charts import svg
    from flowzoo.evaluation.speed import accuracy_chart
    from flowzoo.files.atomic import replacing

    if not file.lower().endswith(".svg"):
        raise InputError(f"--plot writes an SVG picture: give a name that ends in .svg, not {file}")
    chart, missing = accuracy_chart(dataset)
    with replacing(Path(file)) as temporary:
        temporary.write_text(svg([chart]), encoding="utf-8")
    left_out = f"; without published scores there: {', '.join(missing)}" if missing else ""
    print(f"wrote {file}{left_out}")
