"""Operators on feature maps and flow: what pyramid networks are made of, besides convolutions.

Maps are (B,C,H,W); flow is (B,2,H,W), x then y, in pixels of the grid it comes with. Everything outside a map is zero.

An operator NAME with kernels of its own is a package `flowzoo.operators.NAME`:

- `__init__.py`: the public function: what it means, and checks of what it is given;
- `definition.py`: the portable PyTorch version, which defines it;
- `cpu.py`: the call of kernels/NAME.cpp, through `native_call`;
- `cuda.py`: the launches of kernels/NAME.cu, through `launch`;
- `registered.py`: all of these, shapes and derivatives as `torch.ops.flowzoo.NAME`, through `registration`.

One that is an expression of other operators is a single file.
"""

from flowzoo.operators.boundary_median import boundary_median
from flowzoo.operators.convex_upsampling import convex_upsampling
from flowzoo.operators.correlation import correlation, correlation_transpose
from flowzoo.operators.decoder_input import decoder_input
from flowzoo.operators.deform import deform
from flowzoo.operators.density_reading import density_reading
from flowzoo.operators.global_correlation import global_correlation
from flowzoo.operators.image_terms import area_means, contrasts, smoothed_greys
from flowzoo.operators.local_convolution import local_convolution
from flowzoo.operators.lookup import lookup
from flowzoo.operators.paired_planes import paired_planes
from flowzoo.operators.relaxation import relaxation
from flowzoo.operators.sampled_volume import sampled_cost_volume
from flowzoo.operators.splat import splat
from flowzoo.operators.variational import flow_reliability, variational_data, variational_step, variational_system
from flowzoo.operators.warp import warp

__all__ = [
    "area_means",
    "boundary_median",
    "contrasts",
    "convex_upsampling",
    "correlation",
    "correlation_transpose",
    "decoder_input",
    "deform",
    "density_reading",
    "flow_reliability",
    "global_correlation",
    "local_convolution",
    "lookup",
    "paired_planes",
    "relaxation",
    "sampled_cost_volume",
    "smoothed_greys",
    "splat",
    "variational_data",
    "variational_step",
    "variational_system",
    "warp",
]
