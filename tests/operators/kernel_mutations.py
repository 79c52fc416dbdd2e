"""What breaks a CUDA kernel in one place, with the operator that has to notice it."""

import torch

from flowzoo.operators.correlation import cuda as correlation_cuda
from flowzoo.operators.correlation import definition as correlation_definition
from flowzoo.operators.sampled_volume import cuda as sampled_cuda
from flowzoo.operators.sampled_volume import definition as sampled_definition
from flowzoo.operators.splat import cuda as splat_cuda
from flowzoo.operators.splat import definition as splat_definition


def correlate_in_tiles() -> bool:
    """Each of these runs one operator through `launch.start` and says whether it agrees with the definition."""
    first, second = torch.randn(1, 9, 5, 34), torch.randn(1, 9, 5, 34)
    return agree(
        correlation_cuda.correlate(first, second, 1, 1, 1.0),
        correlation_definition.correlate(first, second, 1, 1, 1.0),
    )


def gather() -> bool:
    volume, features = torch.randn(1, 9, 5, 34), torch.randn(1, 5, 5, 34)
    return agree(
        correlation_cuda.gather(volume, features, 1, 1, 1.0),
        correlation_definition.gather(volume, features, 1, 1, 1.0),
    )


def scatter() -> bool:
    volume, features = torch.randn(1, 9, 5, 34), torch.randn(1, 5, 5, 34)
    return agree(
        correlation_cuda.scatter(volume, features, 1, 1, 1.0),
        correlation_definition.scatter(volume, features, 1, 1, 1.0),
    )


def sampled(absolute: bool, dilation: int = 1) -> bool:
    inputs = torch.randn(1, 5, 4, 6), torch.randn(1, 5, 4, 6), 4 * torch.randn(1, 2, 4, 6)
    incoming = torch.randn(1, 9, 4, 6)
    found = sampled_cuda.sampled_volume(*inputs, 1, dilation, 1, absolute)
    same = agree(found, sampled_definition.sampled_volume(*inputs, 1, dilation, 1, absolute))
    gradients = sampled_cuda.sampled_volume_backward(incoming, *inputs, 1, dilation, 1, absolute)
    wanted = sampled_definition.sampled_volume_backward(incoming, *inputs, 1, dilation, 1, absolute)
    return same and all(agree(one, other) for one, other in zip(gradients, wanted, strict=True))


def sampled_correlation() -> bool:
    return sampled(False)


def sampled_difference() -> bool:
    return sampled(True)


def correlation_of_radius_4() -> bool:
    """A window whose last pixels are as many as are read at once."""
    inputs = torch.randn(1, 5, 4, 6), torch.randn(1, 5, 4, 6), torch.randn(1, 2, 4, 6)
    wanted = sampled_definition.sampled_volume(*inputs, 4, 1, 1, False)
    return agree(sampled_cuda.sampled_volume(*inputs, 4, 1, 1, False), wanted)


def dilated_correlation() -> bool:
    return sampled(False, 2)


def gradients_in_boxes(absolute: bool = False) -> bool:
    """Flow of one direction, but for two pixels, one of them in its rows; at the lower right corner, partly outside."""
    flow = torch.tensor([2.3, 3.6]).view(1, 2, 1, 1).expand(1, 2, 9, 10).clone()
    flow[0, :, 4, 5] = torch.tensor([0.5, -4.75])
    flow[0, :, 2, 3] = torch.tensor([-3.5, 3.6])
    inputs = torch.randn(1, 36, 9, 10), torch.randn(1, 36, 9, 10), flow
    incoming = torch.randn(1, 9, 9, 10)
    gradients = sampled_cuda.sampled_volume_backward(incoming, *inputs, 1, 1, 1, absolute)
    wanted = sampled_definition.sampled_volume_backward(incoming, *inputs, 1, 1, 1, absolute)
    return all(agree(one, other) for one, other in zip(gradients, wanted, strict=True))


def differences_in_boxes() -> bool:
    return gradients_in_boxes(True)


def dilated_difference() -> bool:
    return sampled(True, 2)


def splat() -> bool:
    values, flow = torch.randn(1, 2, 5, 7), 3 * torch.randn(1, 2, 5, 7)
    return agree(splat_cuda.splat(values, flow), splat_definition.splat(values, flow))


def agree(found: torch.Tensor, wanted: torch.Tensor) -> bool:
    return bool(torch.isfinite(found).all()) and bool(torch.allclose(found, wanted, rtol=1e-4, atol=1e-5))


READY_TILE = "        arrive();\n        __syncthreads();"
FREE_GATHER = "            __syncwarp();\n            bring_rows"
READY_GATHER = "            arrive();\n            __syncwarp();"

# source, what runs, original text, its replacement
MUTATIONS = {
    "tile not free": (
        "correlation.cu",
        correlate_in_tiles,
        "bring_chunk<SECOND_PLANE>(second_tile[half ^ 1]",
        "bring_chunk<SECOND_PLANE>(second_tile[half]",
    ),
    "tile not ready": ("correlation.cu", correlate_in_tiles, READY_TILE, "        arrive();"),
    "next channels not moved on to": (
        "correlation.cu",
        correlate_in_tiles,
        "share[k] != nullptr && left > CHUNK",
        "share[k] != nullptr && left > 2 * CHUNK",
    ),
    "displacement row lost": (
        "correlation.cu",
        correlate_in_tiles,
        "second_tile[half][c][(row + threadIdx.y) * PITCH",
        "second_tile[half][c][row * PITCH",
    ),
    "pixel offset lost": (
        "correlation.cu",
        correlate_in_tiles,
        "pixels.z * neighbours[g + 2]",
        "pixels.z * neighbours[g]",
    ),
    "gather tile not free": ("correlation.cu", gather, FREE_GATHER, "            bring_rows"),
    "gather tile not ready": ("correlation.cu", gather, READY_GATHER, "            arrive();"),
    "gather neighbour lost": (
        "correlation.cu",
        gather,
        "weight[g][i] * neighbours[g + i]",
        "weight[g][i] * neighbours[g]",
    ),
    "scatter not shifted": (
        "correlation.cu",
        scatter,
        "(flipped ? right + g - radius : 0)",
        "(flipped ? right - radius : 0)",
    ),
    "costs leave early": (
        "sampled_volume.cu",
        sampled_correlation,
        "    __syncthreads();\n    const int neighbours",
        "    const int neighbours",
    ),
    "dots not ready": (
        "sampled_volume.cu",
        correlation_of_radius_4,
        "dots[begin + 4 * i] = totals[i];\n        }\n    }\n    __syncwarp();",
        "dots[begin + 4 * i] = totals[i];\n        }\n    }",
    ),
    "gradients not ready": (
        "sampled_gradient.cu",
        sampled_correlation,
        "        shared[i % neighbours * SIDE * SIDE + d] = value;\n    }\n    __syncthreads();",
        "        shared[i % neighbours * SIDE * SIDE + d] = value;\n    }",
    ),
    "dilated weights not ready": (
        "sampled_volume.cu",
        dilated_correlation,
        "weights[n] = total;\n    }\n    __syncwarp();",
        "weights[n] = total;\n    }",
    ),
    "weights not ready": (
        "sampled_gradient.cu",
        gradients_in_boxes,
        "n / WINDOW, n % WINDOW, w);\n    __syncwarp();",
        "n / WINDOW, n % WINDOW, w);",
    ),
    "places not ready": (
        "sampled_gradient.cu",
        gradients_in_boxes,
        "    __syncthreads();\n#pragma unroll 1\n    for (int i = thread; i < PIXELS * WINDOW",
        "#pragma unroll 1\n    for (int i = thread; i < PIXELS * WINDOW",
    ),
    "box weights not ready": (
        "sampled_gradient.cu",
        gradients_in_boxes,
        "    __syncthreads();\n\n    const Box box",
        "    const Box box",
    ),
    "outliers lost": (
        "sampled_gradient.cu",
        gradients_in_boxes,
        "places.top[pixel] != NOWHERE && !box.holds(",
        "places.top[pixel] == NOWHERE && !box.holds(",
    ),
    "outliers in the box as well": (
        "sampled_gradient.cu",
        gradients_in_boxes,
        "if (!box.holds(places.top[pixel], places.left[pixel])) continue;",
        "",
    ),
    "upper row twice": (
        "sampled_gradient.cu",
        gradients_in_boxes,
        "total[1][k] += lower * values[k];",
        "total[1][k] += upper * values[k];",
    ),
    "second half of the channels lost": (
        "sampled_gradient.cu",
        gradients_in_boxes,
        "begin + lane_channel + k % 8, s",
        "begin + lane_channel, s",
    ),
    "slope of the wrong side": (
        "sampled_gradient.cu",
        gradients_in_boxes,
        "(beside ? down : -down)",
        "(below ? down : -down)",
    ),
    "gradients of SAD not ready": (
        "sampled_difference_gradient.cu",
        differences_in_boxes,
        "        shared[i % neighbours * SIDE * SIDE + d] = value;\n    }\n    __syncthreads();",
        "        shared[i % neighbours * SIDE * SIDE + d] = value;\n    }",
    ),
    "places and gradients of SAD not ready": (
        "sampled_difference_gradient.cu",
        differences_in_boxes,
        "    __syncthreads();\n\n    const Box box",
        "    const Box box",
    ),
    "band not ready": (
        "sampled_difference_gradient.cu",
        differences_in_boxes,
        "        __syncwarp();\n        put_band(",
        "        put_band(",
    ),
    "band not free": (
        "sampled_difference_gradient.cu",
        differences_in_boxes,
        "s, scale);\n        __syncwarp();",
        "s, scale);",
    ),
    "outliers of SAD lost": (
        "sampled_difference_gradient.cu",
        differences_in_boxes,
        "top == NOWHERE || box.holds(top, left) ||",
        "top == NOWHERE || !box.holds(top, left) ||",
    ),
    "outliers of SAD in the box as well": (
        "sampled_difference_gradient.cu",
        differences_in_boxes,
        "begin >= end || !box.holds(top, left)",
        "begin >= end || top == NOWHERE",
    ),
    "share of the row above lost": (
        "sampled_difference_gradient.cu",
        differences_in_boxes,
        "from_above[x] = sight.down * part;",
        "from_above[x] = 0.0f;",
    ),
    "share of the band above lost": (
        "sampled_difference_gradient.cu",
        differences_in_boxes,
        "        if (begin > 0)\n            from_above[x] =",
        "        if (begin > WINDOW)\n            from_above[x] =",
    ),
    "slopes of the wrong row": (
        "sampled_difference_gradient.cu",
        differences_in_boxes,
        "            above = below;\n        }\n        to_first",
        "        }\n        to_first",
    ),
    "x neighbour lost": (
        "sampled_volume.cu",
        dilated_difference,
        "w.at(row, column + 1, s), c);",
        "w.at(row, column, s), c);",
    ),
    "lower share wrong": (
        "sampled_volume.cu",
        dilated_difference,
        "sums[w.side * 32] += slope * w.down",
        "sums[w.side * 32] += slope * up",
    ),
    "splat share wrong": ("splat.cu", splat, "(k / 2 ? down : 1.0f - down)", "(k / 2 ? 1.0f - down : down)"),
}

# source, what runs, the bounds check, what is left of it
BOUNDS = {
    "map edge": (
        "correlation.cu",
        gather,
        "const bool inside = row >= 0 && row < tile.rows && column",
        "const bool inside = row >= 0 && column",
    ),
    "gather's last channels": ("correlation.cu", gather, "inside && k < left", "inside"),
    "volume edge": (
        "correlation.cu",
        scatter,
        "if (!exist || y < 0 || y >= tile.rows) return;",
        "if (!exist || y < 0) return;",
    ),
    "tile edge": (
        "correlation.cu",
        correlate_in_tiles,
        "i < PLANE && row >= 0 && row < tile.rows",
        "i < PLANE && row >= 0",
    ),
    "last channels": (
        "correlation.cu",
        correlate_in_tiles,
        "__ldg(share[k] != nullptr && start + c < left ?",
        "__ldg(share[k] != nullptr ?",
    ),
    "result edge": ("correlation.cu", gather, "if (y >= tile.rows) return;", ""),
    "tile of pixels' edge": (
        "sampled_gradient.cu",
        gradients_in_boxes,
        "return row < s.rows && column < s.columns ?",
        "return column < s.columns ?",
    ),
    "box edge": (
        "sampled_gradient.cu",
        gradients_in_boxes,
        "if (y < 0 || y >= s.height || x < 0 || x >= s.width || channel >= s.channels) return;",
        "if (y < 0 || x < 0 || x >= s.width || channel >= s.channels) return;",
    ),
    "last channels of pixels": (
        "sampled_gradient.cu",
        gradients_in_boxes,
        "place >= 0 && begin + channel < channels",
        "place >= 0",
    ),
    "window of a pixel's edge": (
        "sampled_difference_gradient.cu",
        differences_in_boxes,
        "sight.exists && y >= 0 && y < s.height",
        "sight.exists && y >= 0",
    ),
    "last channels of a lane": (
        "sampled_difference_gradient.cu",
        differences_in_boxes,
        "exists = channel < s.channels;",
        "exists = true;",
    ),
    "window edge": (
        "sampled_volume.cu",
        sampled_correlation,
        "if (y < 0 || y >= s.height || x < 0 || x >= s.width) return -1;",
        "if (y < 0 || x < 0 || x >= s.width) return -1;",
    ),
    "splat edge": (
        "splat.cu",
        splat,
        "if (row < 0 || row >= height || column < 0 || column >= width) continue;",
        "if (row < 0 || column < 0 || column >= width) continue;",
    ),
}
