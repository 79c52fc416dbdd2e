"""Operators on feature maps and flow: what pyramid networks are made of, besides convolutions.

Maps are (B,C,H,W); flow is (B,2,H,W), x then y, in pixels of the grid it comes with. Everything outside a map is zero.
The portable PyTorch version defines an operator; `flowzoo.operators.backends` says which faster ones are in use.
"""

from flowzoo.operators.deformation import deform
from flowzoo.operators.filtering import local_convolution
from flowzoo.operators.local_correlation import correlation, correlation_transpose
from flowzoo.operators.lookup import lookup
from flowzoo.operators.matching import global_correlation
from flowzoo.operators.sampled_volumes import sampled_cost_volume
from flowzoo.operators.upsampling import convex_upsampling
from flowzoo.operators.warping import splat, warp

__all__ = [
    "convex_upsampling",
    "correlation",
    "correlation_transpose",
    "deform",
    "global_correlation",
    "local_convolution",
    "lookup",
    "sampled_cost_volume",
    "splat",
    "warp",
]
