"""Synthetic training pairs with exact flow, from photographs, cut-outs and procedural textures."""

from flowzoo.synthetic.packed import PackedPairs
from flowzoo.synthetic.pairs import SyntheticPairs
from flowzoo.synthetic.render import RenderedPairs
from flowzoo.synthetic.settings import SceneSettings
from flowzoo.synthetic.textures import Cutouts, Textures

__all__ = ["Cutouts", "PackedPairs", "RenderedPairs", "SceneSettings", "SyntheticPairs", "Textures"]
