"""Draws the README's picture: the example pair and the flow that `flowzoo infer` finds, side by side.

python tools/draw_readme_picture.py
"""

from pathlib import Path

import numpy as np

import flowzoo
from flowzoo.files.images import read_image, write_image
from flowzoo.visualise import flow_picture

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Write docs/images/city.png."""
    first, second = (read_image(ROOT / "examples" / f"city_{index}.png") for index in (1, 2))
    flow = flowzoo.estimate("wren", first, second)
    write_image(ROOT / "docs" / "images" / "city.png", np.hstack([first, second, flow_picture(flow, legend=True)]))


if __name__ == "__main__":
    main()
