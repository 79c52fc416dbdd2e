"""`flowzoo distill`: pseudo ground truth for fine-tuning without forgetting."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from flowzoo.cli.common import add_model_arguments
from flowzoo.datasets.catalogue import list_datasets, open_dataset
from flowzoo.errors import InputError, counted

if TYPE_CHECKING:
    from flowzoo.inference.pseudo_truth import Task

HELP = "Label a data set with a trained network, keeping the vectors that pass checks: pseudo ground truth."

EXAMPLES = """examples:
  flowzoo distill kitti-2015 --root KITTI -o KITTI-pseudo --model hd3 --weights hd3-things
  flowzoo distill --pairs list.txt -o labels --format flo --min-confidence 0.5

A vector is kept where the backward flow leads back, the motion stays in the image, the colours agree and, for networks
that give one, the confidence is high enough. Files are KITTI's 16-bit PNGs with a valid mask (or .flo with unknown
pixels marked); pairs.txt beside them lists images and flow, as the data set `pairs` of train and evaluate takes it.
Pairs whose file is there are left as they are, so an interrupted run can be started again.

data sets: """ + ", ".join(list_datasets())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    parser.epilog = EXAMPLES
    parser.add_argument("dataset", nargs="?", metavar="DATASET", help="name of a data set (below)")
    data = parser.add_argument_group("data")
    data.add_argument("--root", metavar="DIR", type=Path, help="folder of the data set, or its parent")
    data.add_argument("--subset", metavar="NAME", help="part of the data set")
    data.add_argument("--partial", action="store_true", help="label the pairs that are there")
    data.add_argument("--pairs", metavar="FILE", help="a list of image pairs instead of a data set")
    data.add_argument("--limit", type=int, metavar="N", help="only the first N pairs")
    outputs = parser.add_argument_group("outputs")
    outputs.add_argument("-o", "--output", metavar="DIR", type=Path, required=True, help="folder for the labels")
    outputs.add_argument("--format", choices=("kitti", "flo"), default="kitti", help="of the files (default: kitti)")
    outputs.add_argument("--overwrite", action="store_true", help="label pairs again whose files are there")
    checks = parser.add_argument_group("checks")
    checks.add_argument(
        "--consistency", type=float, nargs=2, default=(0.01, 0.5), metavar=("A", "B"),
        help="keep |w + w'|^2 <= A (|w|^2 + |w'|^2) + B, w' the backward flow there, pixels (default: 0.01 0.5)",
    )  # fmt: skip
    checks.add_argument(
        "--min-confidence", type=float, default=0.3, metavar="P", help="least confidence, 0 to 1 (default: 0.3)"
    )
    checks.add_argument(
        "--max-difference", type=float, default=0.1, metavar="D", help="mean colour difference, 0 to 1 (default: 0.1)"
    )
    computing = parser.add_argument_group("computing")
    computing.add_argument(
        "--memory",
        type=float,
        metavar="GB",
        help="bound for activations; larger frames are cut (default: as for infer)",
    )
    add_model_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Do it.

    Raises:
        InputError: see the messages.
    """
    check(arguments)
    tasks, inputs = find_tasks(arguments)
    from tqdm import tqdm

    from flowzoo.cli.common import make_network
    from flowzoo.devices import pick_precision
    from flowzoo.files.run_files import RunFiles
    from flowzoo.inference.estimator import Estimator
    from flowzoo.inference.pseudo_truth import LIST, PseudoTruth, label_path, list_of_labels
    from flowzoo.losses.distillation import Trust

    files = RunFiles()
    files.reads(*inputs, *(path for task in tasks for path in (task.first, task.second)), arguments.weights)
    for task in tasks:
        files.writes(label_path(arguments.output, task, arguments.format), f"the label of {task.first.name}")
    files.writes(arguments.output / LIST, "the list of labels")
    files.check()
    list_of_labels(arguments.output, tasks, arguments.format)
    network, weights = make_network(arguments)
    precision = pick_precision(arguments.precision, network.device)
    estimator = Estimator(network, precision, memory=arguments.memory, backward=True)
    relative, absolute = arguments.consistency
    trust = Trust(relative, absolute, arguments.min_confidence, arguments.max_difference)
    labels = PseudoTruth(estimator, arguments.output, trust, arguments.format)
    print(f"labelling {counted(len(tasks), 'pair')} with {network.model_name} ({weights})")
    share = labels(
        tasks,
        overwrite=arguments.overwrite,
        progress=lambda all_tasks: iter(tqdm(all_tasks, unit="pair", disable=not sys.stderr.isatty())),
    )
    print(f"wrote {arguments.output / LIST}: {counted(len(tasks), 'pair')}, {share:.1%} of the pixels kept")


def check(arguments: argparse.Namespace) -> None:
    """What can be refused before anything is loaded."""
    if (arguments.dataset is None) == (arguments.pairs is None):
        raise InputError("give either the name of a data set (with --root) or --pairs FILE")
    if arguments.dataset is not None and arguments.root is None:
        raise InputError(f"give the folder of {arguments.dataset} with --root DIR")
    if arguments.limit is not None and arguments.limit < 1:
        raise InputError(f"--limit must be at least 1, got {arguments.limit}")
    if min(arguments.consistency) < 0:
        raise InputError(f"--consistency takes two numbers from 0 up, got {arguments.consistency}")
    for name in ("min_confidence", "max_difference"):
        if not 0 <= getattr(arguments, name) <= 1:
            raise InputError(f"--{name.replace('_', '-')} must be 0 to 1, got {getattr(arguments, name)}")


def find_tasks(arguments: argparse.Namespace) -> "tuple[list[Task], list[Path]]":
    """The pairs to label, and every other file that says something about them."""
    from flowzoo.inference.pseudo_truth import tasks_of, without_suffix

    if arguments.pairs is not None:
        from flowzoo.inference.sources import FilePairs, open_source

        source = open_source("", None, arguments.pairs)
        for note in source.notes:
            print(note)
        assert isinstance(source, FilePairs)  # what a list always gives
        source.require_one_size()
        files = [(a, b, name) for name, (a, b) in zip(source.names, source.files, strict=True)]
        others = source.inputs
    else:
        dataset = open_dataset(arguments.dataset, arguments.root, arguments.subset, partial=arguments.partial)
        files = [(pair.first, pair.second, without_suffix(pair.prediction)) for pair in dataset.pairs]
        others = dataset.files()
    return tasks_of(files[: arguments.limit]), others
