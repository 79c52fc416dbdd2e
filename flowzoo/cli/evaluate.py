"""`flowzoo evaluate`: run a model, or score flow files, over a data set by its official protocol."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from flowzoo.cli.common import add_model_arguments
from flowzoo.datasets.catalogue import dataset_class, list_datasets
from flowzoo.datasets.scaled.catalogue import list_scaled_datasets, scaled_dataset_class
from flowzoo.errors import InputError
from flowzoo.evaluation.frame_protocols import PROTOCOLS, is_interpolation

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from flowzoo.distributed import Ranks
    from flowzoo.evaluation.made_frames import Maker
    from flowzoo.inference.enlarger import Enlarger
    from flowzoo.inference.estimator import Estimator

MOST_CONTEXT = 1000
"""Frames of context: a protocol gives the network all that it has."""
HELP = "Run a model over a data set by its official protocol; or score a folder of flow files."

EXAMPLES = """examples:
  flowzoo evaluate sintel-final --root MPI-Sintel --model liteflownet2 --weights liteflownet2-sintel
  flowzoo evaluate kitti-2015 --root KITTI --json kitti.json --csv kitti.csv --worst 10
  flowzoo evaluate sintel-clean --root MPI-Sintel --predictions flows/     score .flo files: SCENE/frame_NNNN.flo
  flowzoo evaluate kitti-2012 --root KITTI --submission upload/            what the test server takes
  flowzoo evaluate flyingchairs --root FlyingChairs_release --limit 20     a look
  flowzoo evaluate reds4 --root REDS --model edvr-m --weights EDVR_M_x4_SR_REDS.pth
  torchrun --nproc-per-node 4 -m flowzoo evaluate spring --root spring     the same numbers from four processes

data sets of pairs: """
EXAMPLES += ", ".join(list_datasets()) + "\ndata sets of clips (super-resolution): " + ", ".join(list_scaled_datasets())
EXAMPLES += "\nframes to predict or to put in between: " + ", ".join(PROTOCOLS)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    parser.epilog = EXAMPLES
    parser.add_argument("dataset", metavar="DATASET", help="name of a data set (below)")
    data = parser.add_argument_group("data")
    data.add_argument("--root", metavar="DIR", type=Path, help="folder of the data set, or its parent")
    data.add_argument("--subset", metavar="NAME", help="part of the data set; 'list' says which there are")
    data.add_argument("--partial", action="store_true", help="evaluate the pairs that are there, and say how many")
    data.add_argument("--limit", type=int, metavar="N", help="only the first N pairs")
    data.add_argument("--mask-invalid", action="store_true", help="Sintel: leave out the official invalid pixels")
    data.add_argument("--predictions", metavar="DIR", type=Path, help="score these flow files instead of a network")
    data.add_argument(
        "--degradation",
        choices=("stored", "bicubic", "blur-centred", "blur-corner"),
        default="stored",
        help="clips: how small frames are made (default: those of the data set, else bicubic)",
    )
    data.add_argument("--border", type=int, default=0, metavar="N", help="clips: pixels left out at each border")
    data.add_argument(
        "--method",
        choices=("splat", "half-flow", "average"),
        default="splat",
        help="frames in between: how flow makes them (default: splat)",
    )
    data.add_argument("--alexnet", metavar="FILE", type=Path, help="made frames: AlexNet's weights, for LPIPS")
    outputs = parser.add_argument_group("outputs")
    outputs.add_argument("--json", metavar="FILE", type=Path, help="all numbers, also of every pair")
    outputs.add_argument("--csv", metavar="FILE", type=Path, help="the same as a table")
    outputs.add_argument("--worst", type=int, default=0, metavar="K", help="name the K worst pairs, draw their errors")
    outputs.add_argument(
        "--pictures", metavar="DIR", type=Path, help="folder of these drawings (default: worst-DATASET)"
    )
    outputs.add_argument("--submission", metavar="DIR", type=Path, help="write what the benchmark's server takes")
    computing = parser.add_argument_group("computing")
    computing.add_argument("--batch-size", type=int, default=1, metavar="N", help="pairs at once on a GPU (default: 1)")
    computing.add_argument(
        "--workers", type=int, default=2, metavar="N", help="threads that read and score (default: 2)"
    )
    computing.add_argument(
        "--memory",
        type=float,
        metavar="GB",
        help="bound for activations; larger frames are tiled (default: as for infer)",
    )
    add_model_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Do it.

    Raises:
        InputError: see the messages.
    """
    if arguments.dataset in list_scaled_datasets():
        run_clips(arguments)
        return
    if arguments.dataset in PROTOCOLS:
        run_frames(arguments)
        return
    refuse(arguments, ("degradation", "border", "alexnet", "method"), "image pairs")
    kind = dataset_class(arguments.dataset)
    if arguments.subset == "list":
        width = max(map(len, kind.subsets))
        print(f"{kind.title}: {kind.layout}")
        print("\n".join(f"  {name:{width}s}  {what}" for name, what in kind.subsets.items()))
        return
    if arguments.root is None:
        raise InputError(f"give --root with the folder of {kind.title}: {kind.layout}")
    if arguments.pictures is not None and not arguments.worst:
        raise InputError("--pictures needs --worst K: how many pairs to draw")
    from flowzoo.evaluation.report import write_text
    from flowzoo.evaluation.run import Evaluation
    from flowzoo.evaluation.table import table

    names = ["dataset", "root", "subset", "partial", "limit", "predictions", "submission", "mask_invalid"]
    names += ["batch_size", "workers", "worst"]
    pictures = arguments.pictures or (Path(f"worst-{arguments.dataset}") if arguments.worst else None)
    reports = tuple(path for path in (arguments.json, arguments.csv) if path is not None)
    evaluation = Evaluation(
        **{name: getattr(arguments, name) for name in names},
        pictures=pictures,
        reports=reports,
        inputs=() if arguments.weights is None else (Path(arguments.weights),),
    )
    report = evaluation.run(lambda ranks: make_estimator(arguments, ranks), progress=True)
    if report is None:
        return
    print(table(report))
    if report.worst:
        print(f"\n  the worst pairs: {pictures}/index.html, and their error maps beside it")
    for path, text in ((arguments.json, report.as_json), (arguments.csv, report.as_csv)):
        if path is not None:
            write_text(path, text())


def run_clips(arguments: argparse.Namespace) -> None:
    """Super-resolution over a data set of clips.

    Raises:
        InputError: see the messages.
    """
    kind = scaled_dataset_class(arguments.dataset)
    if arguments.subset == "list":
        print("\n".join([f"{kind.title}: {kind.layout}", *(f"  {n}  {what}" for n, what in kind.subsets.items())]))
        return
    if arguments.root is None:
        raise InputError(f"give --root with the folder of {kind.title}: {kind.layout}")
    refuse(arguments, ("mask_invalid", "worst", "pictures", "submission", "alexnet", "method"), "clips")
    from flowzoo.evaluation.enlarged_clips import ClipEvaluation
    from flowzoo.evaluation.report import write_text
    from flowzoo.evaluation.table import table

    names = ("dataset", "root", "subset", "partial", "limit", "predictions", "degradation", "border", "batch_size")
    evaluation = ClipEvaluation(
        **{name: getattr(arguments, name) for name in names},
        reports=tuple(path for path in (arguments.json, arguments.csv) if path is not None),
        inputs=() if arguments.weights is None else (Path(arguments.weights),),
    )
    report = evaluation.run(lambda ranks: make_enlarger(arguments, ranks), progress=True)
    if report is None:
        return
    print(table(report))
    for path, text in ((arguments.json, report.as_json), (arguments.csv, report.as_csv)):
        if path is not None:
            write_text(path, text())


def run_frames(arguments: argparse.Namespace) -> None:
    """Predicted frames, or frames in between.

    Raises:
        InputError: see the messages.
    """
    kinds = PROTOCOLS[arguments.dataset]
    if arguments.subset == "list":
        print("\n".join(f"  {name}  {kind.clips}" for name, kind in kinds.items()))
        return
    if arguments.root is None:
        raise InputError(f"give --root with the folder of {arguments.dataset}")
    unfit = ("mask_invalid", "worst", "pictures", "submission", "degradation", "border")
    refuse(arguments, unfit if is_interpolation(arguments.dataset) else (*unfit, "method"), "made frames")
    from flowzoo.evaluation.made_frames import FrameEvaluation
    from flowzoo.evaluation.report import write_text
    from flowzoo.evaluation.table import table

    names = ("dataset", "root", "subset", "partial", "limit", "predictions", "alexnet")
    given = (arguments.weights, arguments.alexnet)
    evaluation = FrameEvaluation(
        **{name: getattr(arguments, name) for name in names},
        reports=tuple(path for path in (arguments.json, arguments.csv) if path is not None),
        inputs=tuple(Path(path) for path in given if path is not None),
    )
    report = evaluation.run(lambda ranks: make_frame_maker(arguments, ranks), progress=True)
    if report is None:
        return
    print(table(report))
    for path, text in ((arguments.json, report.as_json), (arguments.csv, report.as_csv)):
        if path is not None:
            write_text(path, text())


def make_frame_maker(arguments: argparse.Namespace, ranks: "Ranks") -> "tuple[Maker, str, str]":
    """What makes frames on this process's device, and the names of model and weights.

    Raises:
        InputError: no weights for it, or options of the network that are wrong.
    """
    own_device(arguments, ranks)
    arguments.factor, arguments.steps, arguments.seed, arguments.context = 2, 20, 0, MOST_CONTEXT
    if is_interpolation(arguments.dataset):
        from flowzoo.cli.interpolate import make_method

        if arguments.model == "flavr":
            arguments.method = "flavr"
        between = make_method(arguments)
        make: Maker = lambda frames, _: between.images(window_of(frames, between.window), [0.5])  # noqa: E731
        return make, between.title, _weights(arguments)
    from flowzoo.cli.predict import make_method as make_predictor

    after = make_predictor(arguments, arguments.model is None and arguments.weights is None)
    return lambda frames, count: after.images(frames[-after.context :], count), after.title, _weights(arguments)


def window_of(frames: "Sequence[np.ndarray]", length: int) -> "list[np.ndarray]":
    """The middle `length` frames; the outer ones repeated where there are fewer."""
    missing = max(0, length - len(frames)) // 2
    padded = [frames[0]] * missing + list(frames) + [frames[-1]] * missing
    first = (len(padded) - length) // 2
    return padded[first : first + length]


def _weights(arguments: argparse.Namespace) -> str:
    return arguments.weights or "the network's own weights"


def refuse(arguments: argparse.Namespace, names: tuple[str, ...], kind: str) -> None:
    """Options that mean nothing for this kind of data set.

    Raises:
        InputError: one of them was given.
    """
    for name in names:
        if getattr(arguments, name) not in (None, False, 0, "stored", "splat"):
            raise InputError(f"--{name.replace('_', '-')} is not for {kind} ({arguments.dataset}): leave it out")


def make_enlarger(arguments: argparse.Namespace, ranks: "Ranks") -> "tuple[Enlarger, str]":
    """The network of the model options on this process's device, for super-resolution."""
    from flowzoo.cli.common import make_video_network
    from flowzoo.cli.superresolve import DEFAULT_MODEL
    from flowzoo.devices import pick_precision
    from flowzoo.inference.enlarger import DEFAULT_MEMORY, Enlarger

    own_device(arguments, ranks)
    network, weights = make_video_network(arguments, "super-resolution", DEFAULT_MODEL)
    precision = pick_precision(arguments.precision, network.device)
    return Enlarger(network, precision, memory=arguments.memory or DEFAULT_MEMORY), weights


def own_device(arguments: argparse.Namespace, ranks: "Ranks") -> None:
    """Of several GPUs each process takes its own."""
    from flowzoo.devices import pick_device

    device = pick_device(arguments.device)
    if ranks.count > 1 and arguments.device in ("auto", "cuda") and device.type == "cuda":
        import torch

        arguments.device = f"cuda:{ranks.local % torch.cuda.device_count()}"


def make_estimator(arguments: argparse.Namespace, ranks: "Ranks") -> "tuple[Estimator, str]":
    """The network of the model options on this process's device; the first process downloads weights alone."""
    from flowzoo.cli.common import make_network
    from flowzoo.devices import pick_device, pick_precision
    from flowzoo.inference.estimator import Estimator

    own_device(arguments, ranks)
    device = pick_device(arguments.device)
    network, weights = make_network(arguments)
    return Estimator(network, precision=pick_precision(arguments.precision, device), memory=arguments.memory), weights
