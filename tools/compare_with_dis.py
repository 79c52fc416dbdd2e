"""Measures the default network against OpenCV's DIS (medium preset) on real pairs with ground truth.

    python tools/compare_with_dis.py --root DATA [--weights TAG|FILE] [--set key=value] [--markdown]

DATA holds the data sets by their own layouts, in folders of their usual names or anywhere one level down; those that
are missing are left out. For every data set: end-point error of both, their ratio, Fl-all, error by length of the true
motion, time of a pair. The last line is the geometric mean of the ratios. Needs opencv-python-headless.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

import flowzoo
from flowzoo.datasets.catalogue import open_dataset
from flowzoo.errors import InputError
from flowzoo.inference.estimator import Estimator
from flowzoo.metrics.errors import end_point_error, length, outliers
from flowzoo.settings import parse_settings

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
Method = Callable[[np.ndarray, np.ndarray], np.ndarray]


def dis(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """OpenCV's DIS, medium preset, on grey images."""
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (first, second)]
    flow: np.ndarray = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(*grey, None)
    return flow


def measure(name: str, root: Path, methods: dict[str, Method], repeat: int) -> dict[str, object]:
    """Scores of all methods on one data set: means over its pairs."""
    rows: dict[str, list[dict[str, float]]] = {method: [] for method in methods}
    names = []
    for subset in SUBSETS.get(name, (None,)):
        dataset = open_dataset(name, root, subset, partial=True)
        for pair in dataset.pairs:
            first, second = dataset.read_images(pair)
            truth = dataset.read_truth(pair)
            if truth is None:
                continue
            names.append(pair.name)
            for method, estimate in methods.items():
                seconds = math.inf
                for _ in range(repeat):
                    begin = time.perf_counter()
                    flow = estimate(first, second)
                    seconds = min(seconds, time.perf_counter() - begin)
                error, moved = end_point_error(flow, truth.flow), length(truth.flow)
                row = {"epe": float(error[truth.valid].mean()), "seconds": seconds}
                row["fl_all"] = 100 * float(outliers(error, moved)[truth.valid].mean())
                for low, high in SPEEDS:
                    chosen = truth.valid & (moved >= low) & (moved < high)
                    row[f"epe_s{low}"] = float(error[chosen].mean()) if chosen.any() else math.nan
                rows[method].append(row)
    result: dict[str, object] = {"pairs": names, "per_pair": rows}
    for method, entries in rows.items():
        result[method] = {key: mean_of([entry[key] for entry in entries]) for key in entries[0]}
    return result


def shown(theirs: float, ours: float) -> str:
    """Two errors as "a/b", or "-" where no pixel moves like that."""
    return "-" if math.isnan(theirs) else f"{theirs:.2f}/{ours:.2f}"


def mean_of(values: list[float]) -> float:
    """Mean of what is known."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--model", default="wren")
    parser.add_argument("--weights", help="default: the weights that ship")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="settings of the network")
    parser.add_argument("--only", help="names of data sets, separated by commas")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument(
        "--repeat", type=int, default=1, help="the fastest of so many runs counts as the time of a pair"
    )
    parser.add_argument("--json", type=Path, help="everything, pair by pair")
    parser.add_argument("--markdown", action="store_true")
    arguments = parser.parse_args()
    network = flowzoo.create(arguments.model, arguments.weights or arguments.model, **parse_settings(arguments.set))
    estimator = Estimator(network, precision=getattr(torch, arguments.precision))
    methods: dict[str, Method] = {"dis": dis, "ours": lambda a, b: estimator(a, b).flow}
    results, ratios = {}, []
    line = (
        "| {} | {} | {} | {} | {} | {} | {} | {} |"
        if arguments.markdown
        else "{:13s}{:>6}{:>9}{:>9}{:>7}  {:15s}{:34s}{}"
    )
    header = (
        "data set",
        "pairs",
        "DIS epe",
        "epe",
        "ratio",
        "Fl-all DIS/us",
        "epe 0-10, 10-40, 40+ DIS/us",
        "s DIS/us",
    )
    print(line.format(*header))
    if arguments.markdown:
        print("|" + "---|" * len(header))
    for name in arguments.only.split(",") if arguments.only else DATASETS:
        try:
            entry = measure(name, arguments.root / DATASETS[name], methods, arguments.repeat)
        except InputError as error:
            print(f"{name}: left out ({error})")
            continue
        results[name] = entry
        a, b = entry["dis"], entry["ours"]
        ratios.append(b["epe"] / a["epe"])
        speeds = ", ".join(shown(a[f"epe_s{low}"], b[f"epe_s{low}"]) for low, _ in SPEEDS)
        print(line.format(
            name, len(entry["pairs"]), f"{a['epe']:.3f}", f"{b['epe']:.3f}", f"{ratios[-1]:.3f}",
            f"{a['fl_all']:.1f}/{b['fl_all']:.1f}", speeds, f"{a['seconds']:.3f}/{b['seconds']:.3f}",
        ), flush=True)  # fmt: skip
    if ratios:
        print(f"geometric mean of the ratios: {math.exp(sum(map(math.log, ratios)) / len(ratios)):.3f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
