"""`flowzoo superresolve`: a folder of frames or a video, four times the size."""

import argparse
from typing import TYPE_CHECKING

from flowzoo.cli.common import add_model_arguments
from flowzoo.errors import InputError, counted

if TYPE_CHECKING:
    from flowzoo.inference.enlarger import Enlarger
    from flowzoo.inference.frame_outputs import FrameOutputs
    from flowzoo.inference.sequences import FrameSequence

HELP = "The frames of a folder or a video, four times the size; each with what its neighbours show."
DEFAULT_MODEL = "kestrel"
"""The network without options; its weights ship with the package."""

EXAMPLES = """examples:
  flowzoo superresolve clip.mp4 -o big.mp4
  flowzoo superresolve frames/ -o big/ --skip-existing
  flowzoo superresolve frames/ -o big/ --model edvr-m --weights EDVR_M_x4_SR_REDS.pth
  flowzoo superresolve frames/ -o big/ --model basicvsr --weights BasicVSR_REDS4.pth --precision bfloat16

Clips of any length run in constant memory: networks that take windows get each frame's neighbours (at the ends as
published for the network), basicvsr gets chunks that overlap. Frames that would not fit --memory are cut into
overlapping tiles that are blended. The first line of output says which."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    parser.epilog = EXAMPLES
    parser.add_argument("frames", metavar="FRAMES|VIDEO", help="folder of frames, or video")
    parser.add_argument("--pattern", metavar="GLOB", help="of a folder, only frames with such names, such as '*.png'")
    parser.add_argument(
        "--partial", action="store_true", help="take what is there of a folder with gaps, or of a cut video"
    )
    outputs = parser.add_argument_group("outputs")
    outputs.add_argument("-o", "--output", metavar="OUT", help="folder (default: ./superresolved/), or video")
    outputs.add_argument("--format", choices=("png", "jpg", "webp", "tif", "bmp", "ppm"), help="in a folder: png")
    outputs.add_argument("--skip-existing", action="store_true", help="leave out frames whose files are there")
    computing = parser.add_argument_group("computing")
    computing.add_argument("--scale", type=int, default=4, metavar="N", help="2, 3 or 4 times the size (default: 4)")
    computing.add_argument("--batch-size", type=int, default=1, metavar="N", help="windows at once (default: 1)")
    computing.add_argument(
        "--chunk", type=int, metavar="N", help="frames at once, for basicvsr (default: what --memory allows)"
    )
    computing.add_argument(
        "--memory", type=float, metavar="GB", help="bound for activations; larger frames run in tiles (default: 2)"
    )
    add_model_arguments(parser, DEFAULT_MODEL)


def run(arguments: argparse.Namespace) -> None:
    """Do it.

    Raises:
        InputError: see the messages.
    """
    check(arguments)
    sequence, outputs = plan(arguments)
    for note in sequence.notes:
        print(note)
    if arguments.skip_existing and outputs.all_done(frame.name for frame in sequence):
        print(f"nothing to do: the outputs of {sequence.title} are there already")
        return
    from flowzoo.cli.common import make_video_network
    from flowzoo.devices import pick_precision
    from flowzoo.inference.enlarger import DEFAULT_MEMORY, Enlarger
    from flowzoo.inference.superresolution import SuperResolutionRun

    network, weights = make_video_network(arguments, "super-resolution", DEFAULT_MODEL)
    enlarger = Enlarger(
        network,
        pick_precision(arguments.precision, network.device),
        memory=arguments.memory or DEFAULT_MEMORY,
        scale=arguments.scale,
        chunk=arguments.chunk,
    )
    if arguments.chunk is not None and network.frames_in is not None:
        raise InputError(f"--chunk is for networks that take any number of frames; {network.model_name} takes windows")
    print(describe(enlarger, weights, sequence, arguments.batch_size))
    SuperResolutionRun(enlarger, sequence, outputs, arguments.batch_size, arguments.skip_existing)()


def plan(arguments: argparse.Namespace) -> "tuple[FrameSequence, FrameOutputs]":
    """What is read and what is written, compared.

    Raises:
        InputError: wrong inputs or options, or outputs that would replace inputs.
    """
    from flowzoo.cli.frame_plan import stated_outputs
    from flowzoo.inference.sequences import open_frames

    sequence = open_frames(arguments.frames, pattern=arguments.pattern, partial=arguments.partial)
    outputs = stated_outputs(arguments, sequence, "superresolved", sequence.names())
    return sequence, outputs


def describe(enlarger: "Enlarger", weights: str, sequence: "FrameSequence", batch_size: int) -> str:
    """One line: what runs, on which device, from which size to which, and in which pieces."""
    height, width = sequence.size
    network, scale = enlarger.network, enlarger.scale
    parts = [
        f"{sequence.title}, {width}x{height} -> {scale * width}x{scale * height}",
        f"{network.model_name} ({weights})",
        f"{network.device}, {str(enlarger.precision).removeprefix('torch.')}",
    ]
    found = enlarger.plan(sequence.size, batch_size)
    if network.frames_in is not None:
        parts.append(f"windows of {counted(network.frames_in, 'frame')}")
    else:
        assert found.chunk is not None, "the network takes clips"
        short = sequence.count is not None and sequence.count <= found.chunk + found.overlap
        parts.append(
            "all frames at once" if short else f"chunks of {counted(found.chunk, 'frame')}, {found.overlap} shared"
        )
    if found.tiles is not None:
        tall, wide = found.tiles.tile
        within = f"to stay within {enlarger.memory:g} GB"
        parts.append(f"{found.tiles.count} overlapping tiles of {wide}x{tall}, blended, {within}")
    return "; ".join(parts)


def check(arguments: argparse.Namespace) -> None:
    """What can be refused before anything is loaded."""
    if arguments.batch_size < 1:
        raise InputError(f"--batch-size must be at least 1, got {arguments.batch_size}")
    if not 2 <= arguments.scale <= 4:
        raise InputError(f"--scale can be 2, 3 or 4, got {arguments.scale}")
    if arguments.chunk is not None and arguments.chunk < 1:
        raise InputError(f"--chunk must be at least 1, got {arguments.chunk}")
    if arguments.memory is not None and not arguments.memory > 0:
        raise InputError(f"--memory must be above 0 gigabytes, got {arguments.memory}")
