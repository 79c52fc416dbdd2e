"""KITTI 2012 and 2015, number for number as the official C++ development kits compute them.

Both kits work in 32-bit floats, and so does this file where it shows: in the outlier rule, whose ties fall as theirs
do, and in the mean error of 2012, which the kit adds up column by column in one float.
"""

import numpy as np

from flowzoo.datasets.dataset import Truth
from flowzoo.metrics.errors import end_point_error, tallies, tally
from flowzoo.metrics.protocol import Protocol
from flowzoo.metrics.statistics import Metric, Statistics

LIMITS = (1, 2, 3, 4, 5)


def interpolate_background(flow: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Fill the pixels that a prediction lacks, as the kits do before scoring; HxWx2 float32 and HxW bool -> HxWx2.

    Along every row a gap takes, component by component, the smaller of the two values that bound it; the ends of the
    row repeat its outermost values. Rows without any value above the first and below the last filled row repeat
    these; rows without any value in between stay zero.
    """
    height, width = valid.shape
    filled = np.where(valid[..., None], flow, np.float32(0)).astype(np.float32)
    columns = np.arange(width)
    left = np.maximum.accumulate(np.where(valid, columns, -1), axis=1)
    right = np.minimum.accumulate(np.where(valid, columns, width)[:, ::-1], axis=1)[:, ::-1]
    rows = np.flatnonzero(valid.any(axis=1))
    if not len(rows):
        return filled
    gaps = ~valid
    gaps[np.setdiff1d(np.arange(height), rows)] = False
    row, column = np.nonzero(gaps)
    before, after = left[row, column], right[row, column]
    # At an end of a row only one neighbour exists: it stands for both.
    before, after = np.where(before < 0, after, before), np.where(after == width, before, after)
    filled[row, column] = np.minimum(filled[row, before], filled[row, after])
    filled[: rows[0]] = filled[rows[0]]
    filled[rows[-1] + 1 :] = filled[rows[-1]]
    return filled


def devkit_error(flow: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """End-point error in 32-bit floats, rounded after every step."""
    difference = truth.astype(np.float32) - flow.astype(np.float32)
    squared = difference * difference
    return np.sqrt(squared[..., 0] + squared[..., 1])


def devkit_outliers(error: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Error > 3 px and error / length > 0.05; the quotient is a 32-bit float, the bound a 64-bit one."""
    squared = truth.astype(np.float32) * truth.astype(np.float32)
    true_length = np.sqrt(squared[..., 0] + squared[..., 1])
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient = (error / true_length).astype(np.float64)
    wrong: np.ndarray = (error.astype(np.float64) > 3.0) & (quotient > 0.05)
    return wrong


def devkit_sum(error: np.ndarray, known: np.ndarray) -> tuple[float, int]:
    """Errors of the known pixels added one by one in a 32-bit float, column after column."""
    chosen = error.T[known.T]
    return (float(np.cumsum(chosen, dtype=np.float32)[-1]) if chosen.size else 0.0), int(chosen.size)


class Kitti2012(Protocol):
    """out-noc, out-all, avg-noc, avg-all: every number is the mean of the images' own."""

    metrics = (
        Metric("out_noc", "out-noc: > 3 px, visible pixels", how="image", scale=100),
        Metric("out_all", "out-all: > 3 px, all pixels", how="image", scale=100),
        Metric("epe_noc", "avg-noc: end-point error, visible", how="image"),
        Metric("epe", "avg-all: end-point error, all", how="image"),
        Metric("epe_occ", "end-point error, hidden pixels", how="image"),
        *(
            Metric(f"out_{which}_{limit}", f"out-{which} with > {limit} px", how="image", scale=100)
            for limit in LIMITS
            if limit != 3
            for which in ("noc", "all")
        ),
        Metric("density", "pixels with a prediction", how="image", scale=100),
    )
    sparse = True

    def measure(self, flow: np.ndarray, valid: np.ndarray, truth: Truth) -> Statistics:
        """See the class."""
        filled = interpolate_background(flow, valid)
        statistics = {}
        grounds = {"all": (truth.flow, truth.valid)} | ({} if truth.other is None else {"noc": truth.other})
        for which, (true_flow, known) in grounds.items():
            error = devkit_error(filled, true_flow)
            for limit in LIMITS:
                name = f"out_{which}" if limit == 3 else f"out_{which}_{limit}"
                statistics[name] = tally(error > limit, known)
            statistics["epe" if which == "all" else "epe_noc"] = devkit_sum(error, known)
            if which == "all":
                statistics["density"] = tally(valid, known)
                if "occlusion" in truth.masks:
                    statistics["epe_occ"] = devkit_sum(error, truth.masks["occlusion"])
        return statistics


class Kitti2015(Protocol):
    """Fl over the pixels of all images together; background and moving foreground by the object map.

    The end-point error, which the 2015 kit does not report, is the mean of the images' own in double precision.
    """

    metrics = (
        Metric("fl_all", "Fl-all: > 3 px and > 5 %, all pixels", scale=100, empty=0.0),
        Metric("fl_bg", "Fl-bg: background", scale=100, empty=0.0),
        Metric("fl_fg", "Fl-fg: moving objects", scale=100, empty=0.0),
        Metric("fl_noc", "Fl-all, visible pixels", scale=100, empty=0.0),
        Metric("fl_noc_bg", "Fl-bg, visible pixels", scale=100, empty=0.0),
        Metric("fl_noc_fg", "Fl-fg, visible pixels", scale=100, empty=0.0),
        Metric("fl_occ", "Fl, hidden pixels", scale=100),
        Metric("epe", "end-point error, all pixels", how="image"),
        Metric("epe_noc", "end-point error, visible pixels", how="image"),
        Metric("epe_occ", "end-point error, hidden pixels", how="image"),
        Metric("density", "pixels with a prediction", scale=100),
    )
    sparse = True
    notes = ("Fl pools the pixels of all images; the end-point errors are means of the images' own",)

    def measure(self, flow: np.ndarray, valid: np.ndarray, truth: Truth) -> Statistics:
        """See the class."""
        filled = interpolate_background(flow, valid)
        # Without an object map everything is background, as with the empty map of the kit's demo.
        moving = truth.masks.get("foreground", np.zeros(truth.valid.shape, bool))
        statistics = {}
        grounds = {"all": (truth.flow, truth.valid)} | ({} if truth.other is None else {"noc": truth.other})
        for which, (true_flow, known) in grounds.items():
            bad = devkit_outliers(devkit_error(filled, true_flow), true_flow)
            error = end_point_error(filled, true_flow)
            if which == "all":
                masks = {"all": known, "bg": known & ~moving, "fg": known & moving}
                statistics["epe"], statistics["density"] = tally(error, known), tally(valid, known)
                if "occlusion" in truth.masks:
                    masks["occ"] = truth.masks["occlusion"]
                    statistics["epe_occ"] = tally(error, masks["occ"])
            else:
                masks = {"noc": known, "noc_bg": known & ~moving, "noc_fg": known & moving}
                statistics["epe_noc"] = tally(error, known)
            statistics |= tallies("fl", bad, masks)
        return statistics
