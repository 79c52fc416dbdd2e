"""Renders clips from photographs for training super-resolution, with the flow that a network finds in them.

python tools/pack_clips.py PHOTOGRAPHS -o clips/ --count 3000
flowzoo train kestrel --root clips/
"""

import argparse
from dataclasses import asdict
from pathlib import Path

import torch

import flowzoo
from flowzoo.synthetic.clips import ClipSettings
from flowzoo.synthetic.packed_clips import ClipRecipe, pack_clips
from flowzoo.synthetic.textures import Textures


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--size", type=int, default=256, help="side of the large frames (default: 256)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    textures, settings = Textures(arguments.photographs, procedural=0), ClipSettings()
    network = flowzoo.create("kestrel")
    network.flow.load_state_dict(flowzoo.create("wren", "wren").state_dict())
    recipe = ClipRecipe(
        count=arguments.count,
        size=(arguments.size, arguments.size),
        scale=4,
        seed=arguments.seed,
        flow="wren",
        settings=asdict(settings),
        photographs=[path.name for path in textures.names],
    )
    with torch.inference_mode():
        pack_clips(arguments.output, textures, recipe, network.flows)


if __name__ == "__main__":
    main()
