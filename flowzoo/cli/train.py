"""`flowzoo train`: trains or fine-tunes a network by a preset."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from flowzoo.errors import InputError

if TYPE_CHECKING:
    from flowzoo.training.recipe import Recipe

log = logging.getLogger(__name__)
HELP = "Train or fine-tune a network by a preset; the same command under torchrun uses many GPUs or machines."

EXAMPLES = """examples:
  flowzoo train --list
  flowzoo train default --root pairs                       pairs: written by flowzoo synth --packed
  flowzoo train pwcnet-chairs --root FlyingChairs_release --device cuda
  flowzoo train default --root pairs --resume              goes on where it was; on a CPU bit for bit
  flowzoo train finetune --data mine/pairs.txt --model wren --weights wren
  flowzoo train default --print-config --set batch=8 --set large.steps=5000
  torchrun --nproc-per-node 8 -m flowzoo train default --root pairs

--set key=value changes a value in every stage of the preset, --set STAGE.key=value in one; seed=N is the run's."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    parser.epilog = EXAMPLES
    parser.add_argument("preset", metavar="PRESET", nargs="?", help="a name of --list, or a .toml file")
    parser.add_argument("--list", action="store_true", help="list the presets")
    parser.add_argument("--print-config", action="store_true", help="print the preset with every value, and stop")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="change a value of the preset")
    data = parser.add_argument_group("data")
    data.add_argument("--root", metavar="DIR", type=Path, help="folder of the training data")
    data.add_argument("--data", metavar="FILE", type=Path, help="instead: a list of pairs, FIRST SECOND FLOW a line")
    data.add_argument(
        "--validate", metavar="DATASET", action="append", default=[], help="validate on it; may be repeated"
    )
    data.add_argument("--validation-root", metavar="DIR", type=Path, help="folder of these (default: --root)")
    data.add_argument("--validation-limit", metavar="N", type=int, default=0, help="only the first N pairs of each")
    run = parser.add_argument_group("run")
    run.add_argument("-o", "--output", metavar="DIR", type=Path, help="where everything goes (default: runs/PRESET)")
    run.add_argument("--resume", action="store_true", help="go on from the last checkpoint in the output folder")
    run.add_argument("--model", metavar="NAME", help="another network than the preset's")
    run.add_argument("--weights", metavar="TAG|FILE", help="start from these instead of random numbers")
    run.add_argument(
        "--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda, cuda:N, mps or xpu (default: auto)"
    )
    run.add_argument("--workers", type=int, default=1, metavar="N", help="processes that prepare batches (default: 1)")
    run.add_argument("--tensorboard", action="store_true", help="log for TensorBoard, too (needs flowzoo[log])")


def run(arguments: argparse.Namespace) -> None:
    """Do it.

    Raises:
        InputError: a wrong option, preset, data set, checkpoint, or a disk that is full.
    """
    from flowzoo.settings import parse_settings
    from flowzoo.training.recipe import describe, list_presets, load_recipe

    if arguments.list:
        width = max(map(len, list_presets()))
        print("\n".join(f"{name.ljust(width)}  {summary}" for name, summary in list_presets().items()))
        return
    if arguments.preset is None:
        raise InputError("name a preset (flowzoo train --list shows them)")
    recipe = load_recipe(arguments.preset, parse_settings(arguments.set), arguments.model)
    if arguments.print_config:
        print(describe(recipe), end="")
        return
    _train(arguments, recipe)


def _train(arguments: argparse.Namespace, recipe: "Recipe") -> None:
    from flowzoo.checkpoints import load_weights, model_of_weights
    from flowzoo.devices import pick_device
    from flowzoo.distributed import start
    from flowzoo.files.run_files import RunFiles
    from flowzoo.training.loop import train
    from flowzoo.training.stage_run import Surroundings
    from flowzoo.training.task import Place
    from flowzoo.training.tasks import task_class

    if arguments.root and arguments.data:
        raise InputError("give --root or --data, not both")
    if arguments.workers < 0 or arguments.validation_limit < 0:
        raise InputError("--workers and --validation-limit cannot be negative")
    root = arguments.data or arguments.root
    if root is not None and not root.exists():
        raise InputError(f"no training data at {root}: no such file or folder")
    output = arguments.output or Path("runs") / recipe.name
    files = RunFiles()
    files.reads(arguments.data, arguments.weights)
    for name in ("log.csv", "log.jsonl", "log.svg", "best.safetensors", f"{recipe.model}.safetensors"):
        files.writes(output / name, f"the run's {name}")
    files.check()
    place = Place(root, tuple(arguments.validate), arguments.validation_root, arguments.validation_limit)
    device = pick_device(arguments.device)
    with start(device) as ranks:
        with ranks.agreement():
            task = task_class(recipe.task)(recipe, place)
            weights = None
            if arguments.weights is not None:
                weights = load_weights(model_of_weights(arguments.weights), arguments.weights).state_dict()
        where = Surroundings(
            output, ranks, ranks.own(device), arguments.resume, weights, arguments.workers, arguments.tensorboard
        )
        trained = train(recipe, task, where)
        if ranks.leads:
            ending = trained.ending
            kind = "averaged weights" if ending.averaged else "weights"
            score = "" if ending.score is None else f"{task.score.name} {task.score.shown(ending.score)}"
            chosen = f"the best in validation ({score})" if score else "the last ones"
            print(f"wrote {trained.file}: {kind} after step {ending.step}, {chosen}")
