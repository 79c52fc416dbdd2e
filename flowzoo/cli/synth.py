"""`flowzoo synth`: render synthetic training pairs with exact flow and occlusion."""

import argparse
import time
from pathlib import Path

from flowzoo.cli.common import parse_size
from flowzoo.errors import InputError, counted

KINDS = ("varied", "fast", "solids", "swarm", "repeated", "static", "dynamic")
HELP = "Render synthetic training pairs with exact flow and occlusion, from photographs or procedural textures."

EXAMPLES = """examples:
  flowzoo synth --textures photographs/ -o pairs/ --count 100
  flowzoo synth --textures photographs/ --cutouts objects/ -o packed/ --packed --count 8000 --workers 8
  flowzoo synth -o pairs/ --count 100                   procedural textures only
  flowzoo synth --textures photographs/ -o glunet/ --kind dynamic --size 520x520
  flowzoo synth --textures photographs/ -o small/ --set motion=0.2 --set objects=0,4

Without --packed every pair is six files named as in FlyingChairs2 (frames, flow both ways, occlusion both ways) and
pairs.txt lists them. The same command again continues where it stopped; pair N depends on the seed and N alone."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    parser.epilog = EXAMPLES
    parser.add_argument("--textures", metavar="DIR", help="photographs (default: procedural textures only)")
    parser.add_argument("--cutouts", metavar="DIR", help="RGBA images of objects (default: drawn shapes only)")
    parser.add_argument("--procedural", type=int, metavar="N", help="procedural textures to draw from (default: 96)")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--count", type=int, default=1000, metavar="N", help="pairs (default: 1000)")
    parser.add_argument("--size", default="384x288", metavar="WxH", help="width x height in pixels (default: 384x288)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of all scenes (default: 0)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes (default: 1)")
    parser.add_argument("--packed", action="store_true", help="arrays for training instead of ordinary files")
    parser.add_argument("--backward", action="store_true", help="with --packed: also the backward flow")
    parser.add_argument(
        "--kind",
        choices=KINDS,
        default="varied",
        help="varied, fast, solids, swarm, repeated: optical flow (docs/synthetic.md); static, dynamic: the "
        "geometric-matching sets of GLU-Net and GOCor",
    )
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="a scene setting (docs/synthetic.md); may be repeated",
    )
    parser.add_argument(
        "--device", default="cpu", metavar="DEVICE", help="auto, cpu, cuda, cuda:N, mps or xpu (default: cpu)"
    )


def run(arguments: argparse.Namespace) -> None:
    """Do it.

    Raises:
        InputError: see the messages.
    """
    width, height = parse_size(arguments.size)
    if arguments.count < 1 or arguments.workers < 1 or arguments.seed < 0:
        raise InputError("--count and --workers must be at least 1, --seed at least 0")
    if arguments.backward and not arguments.packed:
        raise InputError("--backward belongs to --packed: ordinary files always have the backward flow")
    from tqdm import tqdm

    from flowzoo import settings
    from flowzoo.devices import pick_device
    from flowzoo.synthetic import SceneSettings
    from flowzoo.synthetic.settings import SCENES
    from flowzoo.synthetic.textures import PROCEDURAL
    from flowzoo.synthetic.writing import RenderJob, render_to_disk

    start = {**SCENES, "static": SceneSettings.static, "dynamic": SceneSettings.dynamic}
    device = pick_device(arguments.device)
    if device.type != "cpu" and arguments.workers > 1:
        raise InputError("--workers is for the CPU: one process keeps a GPU busy")
    job = RenderJob(
        output=Path(arguments.output),
        textures=None if arguments.textures is None else Path(arguments.textures),
        cutouts=None if arguments.cutouts is None else Path(arguments.cutouts),
        count=arguments.count,
        size=(height, width),
        seed=arguments.seed,
        settings=settings.replace(start[arguments.kind](), "the scene", **settings.parse_settings(arguments.set)),
        packed=arguments.packed,
        backward=arguments.backward,
        device=str(device),
        procedural=PROCEDURAL if arguments.procedural is None else arguments.procedural,
    )
    rendered = len(job.missing())
    started = time.monotonic()
    with tqdm(total=job.count, initial=job.count - rendered, unit="pair", disable=None) as progress:
        for written in render_to_disk(job, arguments.workers):
            progress.update(written)
    rate = rendered / max(time.monotonic() - started, 1e-6)
    new = f"{rendered} new, {rate:.1f} pairs/s" if rendered else "all were there"
    print(f"{counted(job.count, 'pair')} of {width}x{height} in {job.output} ({new})")
