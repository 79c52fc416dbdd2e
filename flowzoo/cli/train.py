"""`flowzoo train`."""

import argparse

HELP = "train or fine-tune by a preset"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("preset", metavar="PRESET", nargs="?", help="a name of --list, or a .toml file")
    parser.add_argument("--root", metavar="DIR", help="folder of the training data")
    parser.add_argument("-o", "--output", metavar="DIR", help="checkpoints, logs and weights (default: runs/PRESET)")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in the output folder")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="change a value of the preset")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--workers", type=int, default=1, help="processes that prepare batches (default: 1)")


def run(arguments: argparse.Namespace) -> None:
    """Train."""
    from pathlib import Path

    from flowzoo.cli.common import parse_settings, pick_device
    from flowzoo.training.distributed import start
    from flowzoo.training.loop import Surroundings, train
    from flowzoo.training.recipe import load_recipe

    recipe = load_recipe(arguments.preset, parse_settings(arguments.set))
    output = Path(arguments.output or f"runs/{recipe.name}")
    with start(pick_device(arguments.device)) as ranks:
        train(recipe, Surroundings(Path(arguments.root), output, ranks, arguments.resume, workers=arguments.workers))
