"""What docs/synthetic.md states."""

import dataclasses
import re
from pathlib import Path

import torch

from flowzoo.augmentation import AugmentationSettings
from flowzoo.synthetic import SceneSettings
from flowzoo.synthetic.drawing import draw_scene
from flowzoo.synthetic.layers import build, outline, stack
from flowzoo.synthetic.render import composite
from flowzoo.synthetic.textures import Textures

PAGE = (Path(__file__).parents[2] / "docs" / "synthetic.md").read_text()


def test_every_setting_is_explained():
    table = PAGE.split("## Settings")[1].split("\n## ")[0]
    named = {name for row in re.findall(r"^\| (`.*?) \|", table, re.M) for name in re.findall(r"`(\w+)`", row)}
    assert named == {entry.name for entry in dataclasses.fields(SceneSettings)}


def test_every_named_augmentation_exists():
    table = PAGE.split("`AugmentationSettings.`")[1].split("\n# ")[0]
    for name in re.findall(r"`(\w+)\(\)`", table):
        assert isinstance(getattr(AugmentationSettings, name)(), AugmentationSettings)


def test_length_of_the_flow_is_as_stated():
    stated = [float(cell) for cell in re.search(r"\n\| (1\.3 \|.*) \|\n", PAGE).group(1).split("|")]
    textures, lengths = Textures(None, procedural=1), []
    for index in range(60):
        layers = [
            stack([build(plan, textures, None, outline(plan))], (288, 384), whole=False)
            for plan in draw_scene(1, index, (288, 384), SceneSettings(), cutouts=False).layers
        ]
        lengths.append(composite(layers, (288, 384)).flow.norm(dim=1)[:, ::7, ::7].flatten())
    found = torch.cat(lengths).quantile(torch.tensor((0.25, 0.5, 0.75, 0.9))).tolist()
    for wanted, value in zip(stated, found, strict=True):
        assert 0.5 < value / wanted < 2
