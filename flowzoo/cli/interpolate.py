"""`flowzoo interpolate`: frames in between, of two images, a folder of frames or a video."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from flowzoo.cli.common import add_model_arguments
from flowzoo.errors import InputError

if TYPE_CHECKING:
    from flowzoo.inference.frame_outputs import FrameOutputs
    from flowzoo.inference.interpolation import Interpolator
    from flowzoo.inference.sequences import FrameSequence

HELP = "Frames in between: of two images, of a folder of frames, or of a video, whose rate grows."
METHODS = ("splat", "half-flow", "average", "flavr")

EXAMPLES = """examples:
  flowzoo interpolate a.png b.png -o between.png
  flowzoo interpolate a.png b.png -o between/ --factor 4       a_250.png, a_500.png, a_750.png
  flowzoo interpolate clip.mp4 -o smooth.mp4                   twice the rate
  flowzoo interpolate frames/ -o smooth/ --factor 8 --skip-existing
  flowzoo interpolate clip.mp4 -o smooth.mp4 --method flavr --weights FLAVR_2x.pth

methods:
  splat      motion carried to the moment in between by the flow in both directions, several ways, and blended where
             the frames agree (default; any flow network: --model, --weights)
  half-flow  both frames warped by half the flow, averaged
  average    the image that is nearest to both frames by correspondences; slow, factor 2 only
  flavr      a network without flow; needs its weights

Of two images the new frames are written; of a clip all frames, numbered from 000000. Clips of any length run in
constant memory."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    parser.epilog = EXAMPLES
    parser.add_argument("first", metavar="FIRST", help="image, folder of frames, or video")
    parser.add_argument("second", nargs="?", metavar="SECOND", help="image")
    parser.add_argument("--factor", type=int, choices=(2, 4, 8), default=2, help="of the rate (default: 2)")
    parser.add_argument("--method", choices=METHODS, default="splat", help="see below (default: splat)")
    parser.add_argument("--pattern", metavar="GLOB", help="of a folder, only frames with such names, such as '*.png'")
    parser.add_argument(
        "--partial", action="store_true", help="take what is there of a folder with gaps, or of a cut video"
    )
    outputs = parser.add_argument_group("outputs")
    outputs.add_argument("-o", "--output", metavar="OUT", help="picture, folder (default: ./interpolated/), or video")
    outputs.add_argument("--format", choices=("png", "jpg", "webp", "tif", "bmp", "ppm"), help="in a folder: png")
    outputs.add_argument("--skip-existing", action="store_true", help="leave out frames whose files are there")
    computing = parser.add_argument_group("computing")
    computing.add_argument("--steps", type=int, default=20, metavar="N", help="of --method average (default: 20)")
    computing.add_argument(
        "--memory", type=float, metavar="GB", help="bound for the flow's activations; larger frames run in tiles"
    )
    add_model_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Do it.

    Raises:
        InputError: see the messages.
    """
    check(arguments)
    if arguments.second is not None:
        _pair(arguments)
    else:
        _clip(arguments)


def _pair(arguments: argparse.Namespace) -> None:
    """The frames between two images."""
    from flowzoo.files.images import FORMATS, read_image, write_image
    from flowzoo.files.run_files import RunFiles
    from flowzoo.inference.frame_outputs import choose_frame_outputs
    from flowzoo.inference.interpolation import moments
    from flowzoo.inference.sequences import told_eight_bits
    from flowzoo.inference.sources import open_source

    source = open_source(arguments.first, arguments.second)
    source.require_one_size()
    times = moments(arguments.factor)
    path = None if arguments.output is None else Path(arguments.output)
    if path is not None and path.suffix.lower() in FORMATS and not path.is_dir() and len(times) == 1:
        if arguments.format is not None and path.suffix.lower() != f".{arguments.format}":
            raise InputError(f"-o {path} does not end in .{arguments.format} as --format asks")
        paths = [path]
    else:
        outputs = choose_frame_outputs(arguments.output, arguments.format, "interpolated")
        if outputs.video is not None:
            raise InputError(f"-o {outputs.video} is a video, but two images are given: give a folder or a picture")
        paths = [outputs.path(f"{Path(arguments.first).stem}_{round(1000 * time):03d}") for time in times]
    files = RunFiles()
    files.reads(*source.inputs, arguments.weights)
    for target in paths:
        files.writes(target, "the frame in between")
    files.check()
    if arguments.skip_existing and all(target.is_file() for target in paths):
        print("nothing to do: the frames in between are there already")
        return
    method = make_method(arguments)
    height, width = source.size
    print(f"{source.title}, {width}x{height}; {method.title}")
    for note in told_eight_bits(source.inputs):
        print(note)
    frames = [read_image(arguments.first), read_image(arguments.second)]
    ends = method.window // 2 - 1
    made = method([frames[0]] * ends + frames + [frames[1]] * ends, times)
    for target, frame in zip(paths, made, strict=True):
        write_image(target, frame)
    print("wrote " + ", ".join(map(str, paths)))


def _clip(arguments: argparse.Namespace) -> None:
    """All frames of a clip and those in between."""
    from flowzoo.inference.between_frames import InterpolationRun, names_of, total_of

    sequence, outputs = plan(arguments)
    for note in sequence.notes:
        print(note)
    known = total_of(sequence, arguments.factor) is not None
    if arguments.skip_existing and known and outputs.all_done(names_of(sequence, arguments.factor)):
        print(f"nothing to do: the outputs of {sequence.title} are there already")
        return
    method = make_method(arguments)
    height, width = sequence.size
    rate = "" if sequence.rate is None else f", {sequence.rate:g} -> {sequence.rate * arguments.factor:g} frames/s"
    print(f"{sequence.title}, {width}x{height}{rate}; {method.title}")
    InterpolationRun(method, sequence, outputs, arguments.factor, arguments.skip_existing)()


def plan(arguments: argparse.Namespace) -> "tuple[FrameSequence, FrameOutputs]":
    """What is read and what is written, compared.

    Raises:
        InputError: wrong inputs or options, or outputs that would replace inputs.
    """
    from flowzoo.cli.frame_plan import stated_outputs
    from flowzoo.inference.between_frames import names_of
    from flowzoo.inference.sequences import open_frames

    sequence = open_frames(arguments.first, pattern=arguments.pattern, partial=arguments.partial)
    return sequence, stated_outputs(arguments, sequence, "interpolated", names_of(sequence, arguments.factor))


def make_method(arguments: argparse.Namespace) -> "Interpolator":
    """The method with its network.

    Raises:
        InputError: no weights for it, or options of the network that are wrong.
    """
    from flowzoo.cli.common import make_network, make_video_network
    from flowzoo.devices import pick_precision
    from flowzoo.inference.estimator import Estimator
    from flowzoo.inference.interpolation import AverageInterpolator, FlavrInterpolator, FlowInterpolator
    from flowzoo.models.video.flavr import Flavr

    if arguments.method == "flavr":
        network, _ = make_video_network(arguments, "interpolation", "flavr")
        if not isinstance(network, Flavr):
            raise InputError(f"--method flavr is a network of its own, {network.model_name} is another: leave it out")
        return FlavrInterpolator(network, pick_precision(arguments.precision, network.device), arguments.factor)
    flow, _ = make_network(arguments)
    precision = pick_precision(arguments.precision, flow.device)
    estimator = Estimator(flow, precision, memory=arguments.memory, backward=True)
    if arguments.method == "average":
        return AverageInterpolator(estimator, arguments.steps)
    return FlowInterpolator(estimator, plain=arguments.method == "half-flow")


def check(arguments: argparse.Namespace) -> None:
    """What can be refused before anything is loaded."""
    if arguments.second is not None and (arguments.pattern is not None or arguments.partial):
        raise InputError("--pattern and --partial are for a folder or a video: leave them out, or SECOND")
    if arguments.method == "average" and arguments.factor != 2:
        raise InputError("--method average makes the one frame in the middle: use --factor 2, or another method")
    if arguments.steps < 1:
        raise InputError(f"--steps must be at least 1, got {arguments.steps}")
    if arguments.memory is not None and not arguments.memory > 0:
        raise InputError(f"--memory must be above 0 gigabytes, got {arguments.memory}")
