"""Pictures of flow: the Middlebury colour code, KITTI's error colours, occlusion overlays. Arrays in, arrays out."""

import math

import flow_vis
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from flowzoo.errors import InputError
from flowzoo.files.validity import known_pixels

INVALID_COLOUR = (0, 0, 0)
"""Black: the colour code itself never gives anything darker than three quarters of full colour."""
SMALLEST_LEGEND_PICTURE = 64
"""Pixels a side below which a legend would hide the picture or could not be read."""
STRIP_PIXELS = 1 << 17
"""Pixels coloured at once: the colour code works in float64, several arrays of it."""

ERROR_LIMITS = np.array([0.0625, 0.125, 0.25, 0.5, 1, 2, 4, 8, 16], np.float32)
"""Upper limits of the error classes of KITTI's development kit; an error of 1 is that of an outlier (3 px and 5 %)."""
ERROR_COLOURS = np.array(
    [
        (49, 54, 149),
        (69, 117, 180),
        (116, 173, 209),
        (171, 217, 233),
        (224, 243, 248),
        (254, 224, 144),
        (253, 174, 97),
        (244, 109, 67),
        (215, 48, 39),
        (165, 0, 38),
    ],
    np.uint8,
)
"""RGB of the ten classes (log_colormap.h of the 2015 kit): blue below an outlier, yellow to red above."""


def flow_picture(
    flow: np.ndarray, valid: np.ndarray | None = None, *, max_flow: float | None = None, legend: bool = False
) -> np.ndarray:
    """Flow in the colours of Baker et al. (IJCV 2011): hue is direction, saturation is length.

    No motion is white, motion to the right is red, down yellow, left cyan, up blue. Flow longer than `max_flow` has its
    full colour darkened by a quarter. Invalid pixels are black.

    Args:
        flow: HxWx2 float, x (right) then y (down), in pixels.
        valid: HxW, True where flow is known. Pixels that are not finite (or beyond 1e9 px) are invalid in any case.
        max_flow: length of full colour in pixels; give the same for all frames of a video, or colours flicker
            (`flow_scale`, `RunningScale`). None: the longest valid vector of this flow.
        legend: draw the colour wheel with its radius in pixels into the lower right corner.

    Returns:
        HxWx3 uint8 RGB.

    Raises:
        InputError: a wrong shape, a `max_flow` that is no positive number, or a legend on less than 64x64 pixels.
    """
    valid = _valid_pixels(flow, valid)
    if max_flow is None:
        max_flow = flow_scale(flow, valid, percentile=100)
    elif not 0 < max_flow < math.inf:
        raise InputError(f"max_flow is {max_flow}: give a positive number of pixels")
    # As flow_vis, a little more than max_flow, so that rounding never darkens the longest vector itself.
    full = max_flow * (1 + 1e-6) + 1e-5
    height, width = valid.shape
    picture = np.empty((height, width, 3), np.uint8)
    rows = max(1, STRIP_PIXELS // max(1, width))
    for top in range(0, height, rows):
        strip = slice(top, top + rows)
        known = valid[strip]
        # Unknown values (NaN, 1e9) must not reach the colour code: it looks colours up in a table.
        scaled = np.where(known[..., None], flow[strip], 0).astype(np.float32) / np.float32(full)
        picture[strip] = flow_vis.flow_uv_to_colors(scaled[..., 0], scaled[..., 1])
        picture[strip][~known] = INVALID_COLOUR
    if legend:
        _draw_legend(picture, max_flow)
    return picture


def flow_scale(flow: np.ndarray, valid: np.ndarray | None = None, *, percentile: float = 99.0) -> float:
    """Length in pixels that `percentile` % of the valid vectors do not exceed; 0 if there are none.

    Args:
        flow: HxWx2 float.
        valid: HxW, True where flow is known; None: where it is finite.
        percentile: 0 to 100; 100 is the longest vector. Less keeps a few wild vectors from paling the rest.
    """
    known = _valid_pixels(flow, valid)
    u, v = flow[..., 0], flow[..., 1]
    if not known.all():
        u, v = u[known], v[known]
    if u.size == 0:
        return 0.0
    length = np.hypot(u, v)
    return float(length.max() if percentile >= 100 else np.percentile(length, percentile))


class RunningScale:
    """A colour scale for frames that come one after the other and cannot be seen twice.

    It follows `flow_scale` of the frames slowly (in ratios), so that colours drift but do not flicker. Where the whole
    sequence is at hand, one `max_flow` for all of it is better.

    Args:
        rate: share of the way to a new frame's scale that one frame moves it, above 0 up to 1.
        percentile: see `flow_scale`.
        smallest: lower limit in pixels, so that noise in a still scene is not blown up to full colour.
    """

    def __init__(self, rate: float = 0.05, *, percentile: float = 99.0, smallest: float = 1.0) -> None:
        if not 0 < rate <= 1:
            raise InputError(f"rate is {rate}: give a number above 0 and up to 1")
        if not smallest > 0:
            raise InputError(f"smallest is {smallest}: give a positive number of pixels")
        self.rate, self.percentile, self.smallest = rate, percentile, smallest
        self.value: float | None = None

    def update(self, flow: np.ndarray, valid: np.ndarray | None = None) -> float:
        """Take in the next frame's flow (HxWx2); returns its `max_flow`. The first frame sets the scale."""
        wanted = max(self.smallest, flow_scale(flow, valid, percentile=self.percentile))
        self.value = wanted if self.value is None else self.value * (wanted / self.value) ** self.rate
        return self.value


def error_picture(
    flow: np.ndarray,
    truth: np.ndarray,
    valid: np.ndarray | None = None,
    *,
    occluded: np.ndarray | None = None,
    spread: bool = False,
) -> np.ndarray:
    """End-point error in the logarithmic colours of KITTI's development kit (2015).

    The error is measured in units of the outlier threshold, as the smaller of error / 3 px and error / 5 % of the true
    length; its classes double from 1/16 to 16. Blue is right, yellow to red is an outlier. Pixels without ground truth
    are black; where `flow` itself is not finite the error is of the worst class.

    Args:
        flow: HxWx2 estimate in pixels.
        truth: HxWx2 ground truth in pixels.
        valid: HxW, True where the truth is known; None: where it is finite.
        occluded: HxW; colours there are halved, as the kit does for pixels that only `flow_occ` covers.
        spread: also colour the pixels around a valid one, which makes sparse truth visible.

    Returns:
        HxWx3 uint8 RGB.

    Raises:
        InputError: shapes that differ.
    """
    known = _valid_pixels(truth, valid)
    if np.shape(flow) != np.shape(truth):
        raise InputError(
            f"flow has shape {np.shape(flow)} but the true flow has {np.shape(truth)}: compare equal sizes"
        )
    # Outside `known` values may be anything; 0 there keeps overflow and NaN out of the sums.
    reference = np.where(known[..., None], truth, 0).astype(np.float32, copy=False)
    usable = known & known_pixels(flow)
    difference = np.where(usable[..., None], flow, 0).astype(np.float32, copy=False) - reference
    error = np.hypot(difference[..., 0], difference[..., 1])
    length = np.hypot(reference[..., 0], reference[..., 1])
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = 20 * error / length
    # fmin: where the true flow is zero the relative error is infinite or undefined, and the absolute one counts.
    classes = np.searchsorted(ERROR_LIMITS, np.fmin(error / 3, relative), side="right")
    classes[known & ~usable] = len(ERROR_LIMITS)
    picture = ERROR_COLOURS[classes]
    if occluded is not None:
        if np.shape(occluded) != known.shape:
            raise InputError(f"occluded has shape {np.shape(occluded)} but flow is {known.shape[0]}x{known.shape[1]}")
        picture[np.asarray(occluded).astype(bool)] //= 2
    picture[~known] = INVALID_COLOUR
    return _spread(picture, known) if spread else picture


def colour_wheel(diameter: int) -> tuple[np.ndarray, np.ndarray]:
    """The colours of all flow vectors up to length 1, each drawn where it points to from the centre.

    Args:
        diameter: in pixels, at least 1.

    Returns:
        wheel: DxDx3 uint8 RGB.
        inside: DxD bool, the disc.
    """
    steps = (np.arange(diameter, dtype=np.float32) + 0.5) * (2 / diameter) - 1
    x, y = np.meshgrid(steps, steps)
    inside = np.hypot(x, y) <= 1
    return flow_vis.flow_uv_to_colors(np.where(inside, x, 0), np.where(inside, y, 0)), inside


def _draw_legend(picture: np.ndarray, max_flow: float) -> None:
    """Draw the wheel and its radius into the lower right corner of `picture`, in place."""
    height, width = picture.shape[:2]
    if min(height, width) < SMALLEST_LEGEND_PICTURE:
        least = SMALLEST_LEGEND_PICTURE
        raise InputError(f"a legend needs a picture of at least {least}x{least} pixels, this is {width}x{height}")
    diameter = min(height, width) // 4
    font = ImageFont.load_default(max(9, diameter // 6))
    text = f"{max_flow:.3g} px" if max_flow < 1000 else f"{max_flow:.0f} px"
    left, top, right, bottom = (math.floor(edge) for edge in font.getbbox(text))
    margin = max(2, diameter // 16)
    box_width = max(diameter, right - left + 1) + 2 * margin
    box_height = diameter + (bottom - top + 1) + 3 * margin
    box = np.full((box_height, box_width, 3), 255, np.uint8)
    wheel, inside = colour_wheel(diameter)
    start = (box_width - diameter) // 2
    # A dark rim, since the wheel's middle and the box are both white.
    rim_wheel, rim = colour_wheel(diameter + 2)
    box[margin - 1 : margin + diameter + 1, start - 1 : start + diameter + 1][rim] = rim_wheel[rim] // 2
    box[margin : margin + diameter, start : start + diameter][inside] = wheel[inside]
    canvas = Image.fromarray(box)
    draw = ImageDraw.Draw(canvas)
    draw.text(((box_width - (right - left)) // 2 - left, diameter + 2 * margin - top), text, (0, 0, 0), font)
    draw.rectangle((0, 0, box_width - 1, box_height - 1), outline=(128, 128, 128))
    # On a very flat or narrow picture the text may be wider than there is room; the wheel is what counts.
    shown = np.asarray(canvas)[:height, :width]
    picture[height - shown.shape[0] :, width - shown.shape[1] :] = shown


def _valid_pixels(flow: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
    """HxW bool: what the caller calls valid and can be valid."""
    if flow.ndim != 3 or flow.shape[2] != 2:
        raise InputError(f"flow has shape {flow.shape}, expected (H, W, 2)")
    known = known_pixels(flow)
    if valid is None:
        return known
    if np.shape(valid) != known.shape:
        raise InputError(f"valid has shape {np.shape(valid)}, flow has {flow.shape}")
    both: np.ndarray = known & np.asarray(valid).astype(bool)
    return both


def _spread(picture: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Colour each pixel that is not `known` like a known one among its eight neighbours, if there is one."""
    height, width = known.shape
    result, filled = picture.copy(), known.copy()
    for down, right in ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)):
        to = (slice(max(0, down), height + min(0, down)), slice(max(0, right), width + min(0, right)))
        origin = (slice(max(0, -down), height - max(0, down)), slice(max(0, -right), width - max(0, right)))
        fill = known[origin] & ~filled[to]
        result[to][fill] = picture[origin][fill]
        filled[to] |= fill
    return result
