"""`flowzoo predict`: the frames that follow those of a folder or a video."""

import argparse
from typing import TYPE_CHECKING

from flowzoo.cli.common import add_model_arguments
from flowzoo.errors import InputError

if TYPE_CHECKING:
    from flowzoo.inference.prediction import FramePredictor

HELP = "The frames that follow those of a folder or a video."

EXAMPLES = """examples:
  flowzoo predict frames/ -o next/ --steps 3
  flowzoo predict clip.mp4 -o next.mp4 --steps 10
  flowzoo predict frames/ -o next/ --model predictor --weights 20_net_G.pth --steps 5
  flowzoo predict frames/ -o next/ --model svg --weights svg.safetensors --seed 3

Without --model and --weights every point goes on as it moved between the last two frames: no weights of its own are
needed. With a network of `flowzoo models --task prediction` its own output is fed back for further steps. Written are
the new frames alone: next_001.png, next_002.png, ..."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    parser.epilog = EXAMPLES
    parser.add_argument("frames", metavar="FRAMES|VIDEO", help="folder of frames, or video")
    parser.add_argument("--steps", type=int, default=1, metavar="N", help="frames to predict (default: 1)")
    parser.add_argument(
        "--context", type=int, default=3, metavar="N", help="last frames that a network gets (default: 3)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the draws of svg and svg-prime (default: 0)")
    parser.add_argument("--pattern", metavar="GLOB", help="of a folder, only frames with such names, such as '*.png'")
    parser.add_argument(
        "--partial", action="store_true", help="take what is there of a folder with gaps, or of a cut video"
    )
    outputs = parser.add_argument_group("outputs")
    outputs.add_argument("-o", "--output", metavar="OUT", help="folder (default: ./predicted/), or video")
    outputs.add_argument("--format", choices=("png", "jpg", "webp", "tif", "bmp", "ppm"), help="in a folder: png")
    outputs.add_argument("--skip-existing", action="store_true", help="do nothing where all files are there")
    add_model_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Do it.

    Raises:
        InputError: see the messages.
    """
    check(arguments)
    from flowzoo.cli.frame_plan import stated_outputs
    from flowzoo.inference.prediction import PredictionRun, names_of
    from flowzoo.inference.sequences import open_frames

    moving = arguments.model is None and arguments.weights is None
    sequence = open_frames(
        arguments.frames, least=2 if moving else 1, pattern=arguments.pattern, partial=arguments.partial
    )
    outputs = stated_outputs(arguments, sequence, "predicted", names_of(arguments.steps))
    for note in sequence.notes:
        print(note)
    if arguments.skip_existing and outputs.all_done(names_of(arguments.steps)):
        print(f"nothing to do: the frames that follow {sequence.title} are there already")
        return
    method = make_method(arguments, moving)
    height, width = sequence.size
    print(f"{sequence.title}, {width}x{height}; {method.title}")
    PredictionRun(method, sequence, outputs, arguments.steps)()


def make_method(arguments: argparse.Namespace, moving: bool) -> "FramePredictor":
    """Constant motion, or a network.

    Raises:
        InputError: no weights for it, or options of the network that are wrong.
    """
    from flowzoo.cli.common import make_network, make_video_network
    from flowzoo.devices import pick_precision
    from flowzoo.inference.estimator import Estimator
    from flowzoo.inference.prediction import MotionPredictor, NetworkPredictor
    from flowzoo.network import PredictionNetwork

    if moving:
        flow, _ = make_network(arguments)
        return MotionPredictor(Estimator(flow, pick_precision(arguments.precision, flow.device), backward=True))
    network, _ = make_video_network(arguments, "prediction", "predictor")
    if not isinstance(network, PredictionNetwork):
        raise InputError(f"{network.model_name} predicts no frames: see flowzoo models --task prediction")
    precision = pick_precision(arguments.precision, network.device)
    return NetworkPredictor(network, precision, arguments.context, arguments.seed)


def check(arguments: argparse.Namespace) -> None:
    """What can be refused before anything is loaded."""
    for name in ("steps", "context"):
        if getattr(arguments, name) < 1:
            raise InputError(f"--{name} must be at least 1, got {getattr(arguments, name)}")
