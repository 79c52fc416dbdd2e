"""Flow algebra: what can be said of flow fields without a network.

The public functions take NumPy arrays and torch tensors, and give back the kind that they were given:

| | flow | image |
|---|---|---|
| NumPy array | (H,W,2) or (B,H,W,2) | (H,W), (H,W,C) or (B,H,W,C) |
| torch tensor | (2,H,W) or (B,2,H,W) | (H,W), (C,H,W) or (B,C,H,W) |

Flow is x (right) then y (down), in pixels. Unknown flow is NaN, in what comes in and in what goes out.
"""

from flowzoo.flow.agreement import consistency, occlusion
from flowzoo.flow.chains import accumulate, compose
from flowzoo.flow.drawings import arrows, hsv
from flowzoo.flow.inversion import invert
from flowzoo.flow.resizing import resize
from flowzoo.flow.warping import splat, warp

__all__ = [
    "accumulate",
    "arrows",
    "compose",
    "consistency",
    "hsv",
    "invert",
    "occlusion",
    "resize",
    "splat",
    "warp",
]
