"""Measures the default network against OpenCV's DIS (medium preset) on real pairs with ground truth.

    python tools/compare_with_dis.py --root DATA [--weights TAG|FILE] [--set key=value] [--markdown]
    python tools/compare_with_dis.py --root DATA --views all --worst 8 --draw FOLDER
    python tools/compare_with_dis.py --synthetic 8 [--textures FOLDER]

DATA holds the data sets by their own layouts, in folders of their usual names or anywhere one level down; those that
are missing are left out. For every data set: end-point error of both, their ratio, Fl-all, error by length of the true
motion, time of a pair. The last line is the geometric mean of the ratios.

With few pairs, a score that settings were chosen by flatters. `--views` shows every pair in other ways whose true flow
is known as well: "mirrored" left to right, "upended" top to bottom, "cut" to the middle (an eighth less on every side).
Choose by some of them, quote others; "all" is the four of them, with a mean for each and one over all.

`--synthetic N` measures on N rendered pairs each of calm, fast, blurred, foggy, thin, solid, repeated and dark scenes
(`flowzoo.synthetic.held_out`), which no preset trains on; give a folder of photographs that was not trained on, either
(without, textures are procedural).
Needs opencv-python-headless.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

import flowzoo
from flowzoo.datasets.catalogue import open_dataset
from flowzoo.errors import InputError
from flowzoo.inference.estimator import Estimator
from flowzoo.metrics.errors import end_point_error, length, outliers
from flowzoo.settings import parse_settings
from flowzoo.synthetic.held_out import KINDS, held_out
from flowzoo.synthetic.render import RenderedPairs
from flowzoo.synthetic.textures import Textures
from flowzoo.visualise import flow_picture, flow_scale

DATASETS = {
    "sintel-clean": "MPI-Sintel",
    "sintel-final": "MPI-Sintel",
    "middlebury": "Middlebury",
    "flyingchairs": "FlyingChairs_release",
    "kitti-2012": "KITTI/2012",
    "kitti-2015": "KITTI/2015",
}
SUBSETS = {"flyingchairs": ("train", "val")}
SPEEDS = ((0, 10), (10, 40), (40, math.inf))
CUT = 8
"""A cut leaves out one part of so many on every side."""
COLUMNS = ("data set", "pairs", "DIS epe", "epe", "ratio", "Fl-all DIS/us", "epe 0-10, 10-40, 40+ DIS/us", "s DIS/us")
ALIGNED = "{:13s}{:>6}{:>9}{:>9}{:>7}  {:15s}{:34s}{}"
Method = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Sample:
    """Two images (H,W,3) uint8, the flow (H,W,2) from the first to the second in pixels, and where it is known."""

    name: str
    first: np.ndarray
    second: np.ndarray
    flow: np.ndarray
    valid: np.ndarray


def as_is(sample: Sample) -> Sample:
    """The pair as the data set has it."""
    return sample


def mirrored(sample: Sample) -> Sample:
    """Left and right swapped: horizontal flow changes its sign."""
    return _changed(sample, lambda map: map[:, ::-1], np.array([-1, 1], np.float32))


def upended(sample: Sample) -> Sample:
    """Top and bottom swapped: vertical flow changes its sign."""
    return _changed(sample, lambda map: map[::-1], np.array([1, -1], np.float32))


def cut(sample: Sample) -> Sample:
    """The middle: what is left after an eighth is taken off on every side."""
    height, width = (side // CUT for side in sample.flow.shape[:2])
    return _changed(sample, lambda map: map[height:-height, width:-width], np.ones(2, np.float32))


def _changed(sample: Sample, change: Callable[[np.ndarray], np.ndarray], signs: np.ndarray) -> Sample:
    first, second, flow, valid = (
        np.ascontiguousarray(change(map)) for map in (sample.first, sample.second, sample.flow, sample.valid)
    )
    return Sample(sample.name, first, second, flow * signs, valid)


VIEWS: dict[str, Callable[[Sample], Sample]] = {"as-is": as_is, "mirrored": mirrored, "upended": upended, "cut": cut}


def dis(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """OpenCV's DIS, medium preset, on grey images."""
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (first, second)]
    flow: np.ndarray = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(*grey, None)
    return flow


def samples(name: str, root: Path) -> list[Sample]:
    """All pairs of a data set that have ground truth."""
    found = []
    for subset in SUBSETS.get(name, (None,)):
        dataset = open_dataset(name, root, subset, partial=True)
        for pair in dataset.pairs:
            truth = dataset.read_truth(pair)
            if truth is not None:
                found.append(Sample(pair.name, *dataset.read_images(pair), truth.flow, truth.valid))
    return found


def measure(
    pairs: Iterable[Sample], methods: dict[str, Method], repeat: int, seen: Callable[[Sample, np.ndarray, float], None]
) -> dict[str, Any]:
    """Scores of all methods: means over pairs. `seen` is told each pair, our flow, and its error."""
    rows: dict[str, list[dict[str, float]]] = {method: [] for method in methods}
    names = []
    for pair in pairs:
        names.append(pair.name)
        for method, estimate in methods.items():
            seconds = math.inf
            for _ in range(repeat):
                begin = time.perf_counter()
                flow = estimate(pair.first, pair.second)
                seconds = min(seconds, time.perf_counter() - begin)
            error, moved = end_point_error(flow, pair.flow), length(pair.flow)
            row = {"epe": float(error[pair.valid].mean()), "seconds": seconds}
            row["fl_all"] = 100 * float(outliers(error, moved)[pair.valid].mean())
            for low, high in SPEEDS:
                chosen = pair.valid & (moved >= low) & (moved < high)
                row[f"epe_s{low}"] = float(error[chosen].mean()) if chosen.any() else math.nan
            rows[method].append(row)
            if method == "ours":
                seen(pair, flow, row["epe"])
    result: dict[str, Any] = {"pairs": names, "per_pair": rows}
    for method, entries in rows.items():
        result[method] = {key: mean_of([entry[key] for entry in entries]) for key in entries[0]}
    return result


class Worst:
    """Remembers the pairs with the largest end-point error, and draws them."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._kept: list[tuple[float, str, Sample, np.ndarray]] = []

    def see(self, title: str, pair: Sample, flow: np.ndarray, error: float) -> None:
        """Take a pair into account."""
        self._kept.append((error, title, pair, flow))
        self._kept.sort(key=lambda entry: -entry[0])
        del self._kept[self._count :]

    def draw(self, folder: Path | None) -> None:
        """Name them; as pictures in `folder`: both images above, true flow and ours below, in the same colours."""
        for number, (error, title, pair, flow) in enumerate(self._kept, start=1):
            print(f"{number:3d}. {error:7.2f} px  {title} {pair.name}")
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
                longest = flow_scale(pair.flow, pair.valid)
                true = flow_picture(pair.flow, max_flow=longest, valid=pair.valid)
                below = np.concatenate([true, flow_picture(flow, max_flow=longest)], axis=1)
                sheet = np.concatenate([np.concatenate([pair.first, pair.second], axis=1), below])
                Image.fromarray(sheet).save(folder / f"{number:02d}.png")


def shown(theirs: float, ours: float) -> str:
    """Two errors as "a/b", or "-" where no pixel moves like that."""
    return "-" if math.isnan(theirs) else f"{theirs:.2f}/{ours:.2f}"


def mean_of(values: list[float]) -> float:
    """Mean of what is known."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def geometric_mean(values: list[float]) -> float:
    """NaN without values."""
    return math.exp(sum(map(math.log, values)) / len(values)) if values else math.nan


def read(root: Path, only: str | None) -> dict[str, list[Sample]]:
    """The data sets that are there; a line about each of the others."""
    found = {}
    for name in only.split(",") if only else DATASETS:
        try:
            found[name] = samples(name, root / DATASETS[name])
        except InputError as error:
            print(f"{name}: left out ({error})")
    return found


def rendered(count: int, folder: Path | None, only: str | None) -> dict[str, list[Sample]]:
    """`count` rendered pairs of each kind of held-out scenes."""
    found, textures = {}, Textures(folder)
    for kind in only.split(",") if only else KINDS:
        pairs = held_out(kind, textures)
        found[kind] = [_sample_of(f"{kind} {index}", pairs.render([index], as_bytes=True)) for index in range(count)]
    return found


def _sample_of(name: str, pairs: RenderedPairs) -> Sample:
    first, second, flow = (
        np.ascontiguousarray(map[0].permute(1, 2, 0).numpy()) for map in (pairs.first, pairs.second, pairs.flow)
    )
    return Sample(name, first, second, flow, pairs.valid[0].numpy())


def report(view: str, data: dict[str, list[Sample]], arguments: argparse.Namespace, worst: Worst) -> dict[str, Any]:
    """Measure all data sets in one view and print their rows; the geometric mean of the ratios is under "ratio"."""
    methods: dict[str, Method] = {"dis": dis, "ours": arguments.estimate}
    line = "| {} | {} | {} | {} | {} | {} | {} | {} |" if arguments.markdown else ALIGNED
    if len(arguments.views) > 1:
        print(f"\n{view}:\n" if arguments.markdown else f"{view}:")
    print(line.format(*COLUMNS))
    if arguments.markdown:
        print("|" + "---|" * len(COLUMNS))
    results: dict[str, Any] = {}
    for name, pairs in data.items():
        entry = measure(map(VIEWS[view], pairs), methods, arguments.repeat, partial(worst.see, f"{name} {view}"))
        results[name] = entry
        a, b = entry["dis"], entry["ours"]
        entry["ratio"] = b["epe"] / a["epe"]
        speeds = ", ".join(shown(a[f"epe_s{low}"], b[f"epe_s{low}"]) for low, _ in SPEEDS)
        print(line.format(
            name, len(entry["pairs"]), f"{a['epe']:.3f}", f"{b['epe']:.3f}", f"{entry['ratio']:.3f}",
            f"{a['fl_all']:.1f}/{b['fl_all']:.1f}", speeds, f"{a['seconds']:.3f}/{b['seconds']:.3f}",
        ), flush=True)  # fmt: skip
    mean = geometric_mean([entry["ratio"] for entry in results.values()])
    print(f"geometric mean of the ratios: {mean:.3f}", flush=True)
    return {"ratio": mean, "data": results}


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data_from = parser.add_mutually_exclusive_group(required=True)
    data_from.add_argument("--root", type=Path, metavar="DATA")
    data_from.add_argument("--synthetic", type=int, metavar="N", help="instead: N rendered pairs of each kind")
    parser.add_argument("--textures", type=Path, metavar="FOLDER", help="photographs for --synthetic")
    parser.add_argument("--model", default="wren")
    parser.add_argument("--weights", help="default: the weights that ship")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="settings of the network")
    parser.add_argument("--only", help="names of data sets or kinds, separated by commas")
    parser.add_argument("--views", default="as-is", help=f"of {', '.join(VIEWS)}, separated by commas, or all")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument(
        "--repeat", type=int, default=1, help="the fastest of so many runs counts as the time of a pair"
    )
    parser.add_argument("--worst", type=int, default=0, metavar="N", help="name the N pairs with the largest error")
    parser.add_argument("--draw", type=Path, metavar="FOLDER", help="and draw them: images, true flow, ours")
    parser.add_argument("--json", type=Path, help="everything, pair by pair")
    parser.add_argument("--markdown", action="store_true")
    arguments = parser.parse_args()
    arguments.views = list(VIEWS) if arguments.views == "all" else arguments.views.split(",")
    if unknown := [view for view in arguments.views if view not in VIEWS]:
        parser.error(f"--views: {unknown[0]!r} is none of {', '.join(VIEWS)}")
    try:
        network = flowzoo.create(arguments.model, arguments.weights or arguments.model, **parse_settings(arguments.set))
        if arguments.synthetic is None:
            data = read(arguments.root, arguments.only)
        else:
            data = rendered(arguments.synthetic, arguments.textures, arguments.only)
    except InputError as error:
        parser.exit(2, f"compare_with_dis: {error}\n")
    estimator = Estimator(network, precision=getattr(torch, arguments.precision))
    arguments.estimate = lambda first, second: estimator(first, second).flow
    worst = Worst(arguments.worst)
    views = {view: report(view, data, arguments, worst) for view in arguments.views}
    if len(views) > 1:
        means = ", ".join(f"{view} {found['ratio']:.3f}" for view, found in views.items())
        print(f"geometric mean over all views: {geometric_mean([v['ratio'] for v in views.values()]):.3f} ({means})")
        for name in data:
            ratio = geometric_mean([found["data"][name]["ratio"] for found in views.values()])
            print(f"  {name}: {ratio:.3f}")
    worst.draw(arguments.draw)
    if arguments.json:
        arguments.json.write_text(json.dumps(views, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
