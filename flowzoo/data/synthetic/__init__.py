"""Synthetic training pairs with exact flow, from photographs, cut-outs and procedural textures."""

from flowzoo.data.synthetic.packed import PackedPairs
from flowzoo.data.synthetic.pairs import SyntheticPairs
from flowzoo.data.synthetic.render import RenderedPairs
from flowzoo.data.synthetic.settings import SceneSettings
from flowzoo.data.synthetic.textures import Cutouts, Textures

__all__ = ["Cutouts", "PackedPairs", "RenderedPairs", "SceneSettings", "SyntheticPairs", "Textures"]
