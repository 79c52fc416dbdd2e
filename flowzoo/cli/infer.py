"""`flowzoo infer`: flow of an image pair, a folder of frames, a video, or a list of pairs."""

import argparse
import math
import sys
from functools import partial
from typing import TYPE_CHECKING

from flowzoo.cli.archives import FORMATS as ARCHIVE_FORMATS
from flowzoo.cli.archives import add_archive_arguments, is_archive, run_archive
from flowzoo.cli.common import add_model_arguments, parse_size
from flowzoo.errors import InputError

if TYPE_CHECKING:
    from flowzoo.inference.estimator import Estimator
    from flowzoo.inference.outputs import OutputChoice
    from flowzoo.inference.sources import PairSource

HELP = "Flow from FIRST to SECOND; FIRST alone may be a video or a folder of frames (consecutive pairs)."

EXAMPLES = """examples:
  flowzoo infer a.png b.png                       flow/a.flo and flow/a.png (colours)
  flowzoo infer a.png b.png -o flow.flo           exactly this file; .flo .pfm .npy .flo5, or .png/.jpg for colours
  flowzoo infer a.png b.png -o 000000_10.png --format kitti
  flowzoo infer frames/ -o out/ --backward --occlusion --skip-existing
  flowzoo infer clip.mp4 -o colours.mp4 --precision bfloat16
  flowzoo infer a.png b.png -o vectors.exr --stmap     for compositing: forward.u, forward.v
  flowzoo infer 0 -o camera.mp4                        the first camera, until Ctrl-C; or rtsp://..., http://...
  flowzoo infer - --size 640x360 -o -                  raw RGB frames in and out, between two ffmpegs
  flowzoo infer videos/ -o flow/ --format zarr --continue-on-error --shard 3/8
  flowzoo infer --pairs list.txt --model liteflownet2 --weights liteflownet2-sintel -o out/

Flow is in pixels of the input, x then y. Colours use one scale for the whole run (--max-flow fixes it). Frames whose
activations would not fit --memory are computed in overlapping strips, with the same result, or, where even that is
not enough, in overlapping tiles that are blended; the first line of output says so."""

EXTRAS = ("backward", "occlusion", "warped", "confidence", "arrows", "stmap", "clip", "legend")
FORMATS = ("flo", "pfm", "npy", "flo5", "kitti", "exr", "exr-half")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "first",
        nargs="?",
        metavar="FIRST",
        help="image, video, folder of frames, number of a camera, address (rtsp://...), or - for raw frames",
    )
    parser.add_argument("second", nargs="?", metavar="SECOND", help="image; or more videos of an archive")
    parser.add_argument("others", nargs="*", metavar="VIDEO", help=argparse.SUPPRESS)
    parser.add_argument(
        "--pairs", metavar="FILE", help="list of pairs: FIRST SECOND on each line (docs/infer.md); - is standard input"
    )
    parser.add_argument("--pattern", metavar="GLOB", help="of a folder, only frames with such names, such as '*.png'")
    parser.add_argument(
        "--partial", action="store_true", help="take what is there of a folder with gaps, a list, or a cut video"
    )
    outputs = parser.add_argument_group("outputs")
    outputs.add_argument("-o", "--output", metavar="OUT", help="file, folder (default: ./flow/), or - for raw frames")
    outputs.add_argument(
        "--format", choices=(*FORMATS, *ARCHIVE_FORMATS), help="flow file format (default: by suffix, flo in a folder)"
    )
    outputs.add_argument("--picture", metavar="FILE", help="also write the colour picture of a single pair here")
    outputs.add_argument("--no-pictures", action="store_true", help="in a folder, flow files alone")
    outputs.add_argument("--backward", action="store_true", help="also flow from SECOND to FIRST: NAME_backward")
    outputs.add_argument(
        "--occlusion", action="store_true", help="NAME_occlusion.png: forward-backward check, 255 = occluded"
    )
    outputs.add_argument("--warped", action="store_true", help="NAME_warped.png: SECOND warped to FIRST")
    outputs.add_argument(
        "--confidence",
        action="store_true",
        help="NAME_confidence.png: 255 = sure; by cyclic consistency where the network has none",
    )
    outputs.add_argument("--arrows", action="store_true", help="NAME_arrows.png: FIRST with an arrow every 16 pixels")
    outputs.add_argument("--stmap", action="store_true", help="NAME_stmap.exr: warps SECOND to FIRST in a compositor")
    outputs.add_argument("--max-flow", type=float, metavar="PIXELS", help="flow length of full colour")
    outputs.add_argument("--legend", action="store_true", help="draw the colour wheel into pictures")
    outputs.add_argument("--clip", action="store_true", help="clip flow to KITTI's range instead of refusing it")
    outputs.add_argument("--skip-existing", action="store_true", help="leave pairs whose outputs are all there")
    _add_stream_arguments(parser)
    computing = parser.add_argument_group("computing")
    computing.add_argument(
        "--warm-start",
        action="store_true",
        help="start each pair of a video or folder from the flow of the pair before (networks that refine: raft)",
    )
    computing.add_argument(
        "--scale", type=float, default=1.0, metavar="F", help="resize images by F first (default: 1)"
    )
    computing.add_argument("--batch-size", type=int, default=1, metavar="N", help="pairs at once (default: 1)")
    computing.add_argument(
        "--memory",
        type=float,
        metavar="GB",
        help="bound for activations; larger frames run in strips or tiles (default: 4; on CUDA 0.8 of what is free)",
    )
    add_archive_arguments(parser)
    add_model_arguments(parser)


def _add_stream_arguments(parser: argparse.ArgumentParser) -> None:
    streams = parser.add_argument_group("cameras, addresses and standard input")
    streams.add_argument("--size", metavar="WxH", help="of raw RGB frames on standard input")
    streams.add_argument("--rate", type=float, metavar="FPS", help="frames per second, where the stream does not say")
    streams.add_argument("--frames", type=int, metavar="N", help="stop after N pairs")


def run(arguments: argparse.Namespace) -> None:
    """Do it.

    Raises:
        InputError: see the messages.
    """
    check(arguments)
    if is_archive(arguments):
        run_archive(arguments)
        return
    source, outputs = plan(arguments)
    say = partial(print, file=sys.stderr) if outputs.stream else print
    for note in source.notes:
        say(note)
    if arguments.skip_existing and outputs.all_done(source):
        say(f"nothing to do: the outputs of {source.title} are there already")
        return
    from flowzoo.cli.common import make_network
    from flowzoo.devices import pick_precision
    from flowzoo.inference.estimator import Estimator
    from flowzoo.inference.run import InferenceRun
    from flowzoo.operators.native import build_for_next_time

    if arguments.second is not None:
        build_for_next_time()
    network, weights = make_network(arguments)
    if network.same_size:
        source.require_one_size()
    estimator = Estimator(
        network,
        pick_precision(arguments.precision, network.device),
        memory=arguments.memory,
        scale=arguments.scale,
        backward=arguments.backward,
        occlusion=arguments.occlusion,
        confidence=arguments.confidence,
        warm_start=arguments.warm_start,
    )
    if arguments.warm_start and estimator.plan(*source.size).tiles is not None:
        raise InputError("--warm-start needs whole frames, but these would run in tiles: raise --memory, or drop it")
    say(describe(estimator, weights, source))
    batch_size, skip_existing = arguments.batch_size, arguments.skip_existing
    InferenceRun(estimator, source, outputs, batch_size, arguments.max_flow, skip_existing, say)()


def plan(arguments: argparse.Namespace) -> "tuple[PairSource, OutputChoice]":
    """What is read and what is written, compared.

    Raises:
        InputError: wrong inputs, options that contradict each other, or outputs that would replace inputs.
    """
    from flowzoo.files.run_files import RunFiles
    from flowzoo.inference.outputs import choose_outputs
    from flowzoo.inference.sources import open_source
    from flowzoo.inference.streams import is_stream, open_stream

    source: PairSource
    if arguments.first is not None and arguments.second is None and is_stream(arguments.first):
        size = None if arguments.size is None else parse_size(arguments.size)
        source = open_stream(arguments.first, size, arguments.rate, arguments.frames)
    else:
        source = open_source(
            arguments.first, arguments.second, arguments.pairs, pattern=arguments.pattern, partial=arguments.partial
        )
    outputs = choose_outputs(
        arguments.output,
        arguments.format,
        single=source.count == 1,
        picture=arguments.picture,
        pictures=not arguments.no_pictures,
        **{name: getattr(arguments, name) for name in EXTRAS},
    )
    if arguments.max_flow is not None and not (outputs.picture or outputs.video or outputs.stream):
        source.notes.append("no picture is written, so --max-flow changes nothing")
    files = RunFiles()
    files.reads(*source.inputs, arguments.weights)
    outputs.state(files, source.pair_names())
    files.check()
    outputs.keep_apart(source)
    return source, outputs


def describe(estimator: "Estimator", weights: str, source: "PairSource") -> str:
    """One line: what runs, on which device, at which size, with which weights, and whether in tiles."""
    height, width = source.size
    device = estimator.network.device
    precision = str(estimator.precision).removeprefix("torch.")
    parts = [
        f"{source.title}, {width}x{height}",
        f"{estimator.network.model_name} ({weights})",
        f"{device}, {precision}",
    ]
    plan = estimator.plan(height, width)
    within = f"to stay within {estimator.bound:g} GB"
    if plan.tiles is not None:
        tall, wide = plan.tiles.tile
        parts.append(f"{plan.tiles.count} overlapping tiles of {wide}x{tall}, blended, {within}")
    elif plan.strip_pixels is not None:
        parts.append(f"in overlapping strips, with the same result, {within}")
    return "; ".join(parts)


def check(arguments: argparse.Namespace) -> None:
    """What can be refused before anything is loaded."""
    if arguments.pairs is not None and arguments.first is not None:
        raise InputError("give either --pairs FILE or images, not both")
    if arguments.pairs is None and arguments.first is None and arguments.videos is None:
        raise InputError("nothing to do: give two images, a folder, a video, or --pairs FILE")
    several = arguments.second is not None and not is_archive(arguments)
    if arguments.pattern is not None and (several or arguments.pairs is not None):
        raise InputError("--pattern chooses among the frames of a folder: give one folder alone, or drop it")
    check_stream(arguments)
    if arguments.batch_size < 1:
        raise InputError(f"--batch-size must be at least 1, got {arguments.batch_size}")
    if arguments.warm_start and arguments.batch_size > 1:
        raise InputError("--warm-start computes one pair after the other: drop --batch-size")
    if arguments.warm_start and arguments.skip_existing:
        raise InputError("--warm-start needs the flow of every pair before: drop --skip-existing")
    if arguments.max_flow is not None and not 0 < arguments.max_flow < math.inf:
        raise InputError(f"--max-flow must be above 0 pixels, got {arguments.max_flow}")


def check_stream(arguments: argparse.Namespace) -> None:
    """Options of cameras, addresses and standard input, and those that they cannot serve."""
    first = arguments.first
    stream = first == "-" or (first is not None and arguments.second is None and (first.isdecimal() or "://" in first))
    given = [f"--{name}" for name in ("size", "rate", "frames") if getattr(arguments, name) is not None]
    if given and not stream:
        raise InputError(f"{', '.join(given)}: only for a camera, an address, or raw frames on standard input (-)")
    if stream and arguments.skip_existing:
        raise InputError("--skip-existing cannot be told of what can be read only once: drop it")
    if arguments.frames is not None and arguments.frames < 1:
        raise InputError(f"--frames must be at least 1, got {arguments.frames}")
    if arguments.rate is not None and not 0 < arguments.rate < math.inf:
        raise InputError(f"--rate must be above 0 frames per second, got {arguments.rate}")
