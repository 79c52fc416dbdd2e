"""How many samples a second the processes that prepare batches deliver, without any training.

    python tools/time_loading.py wren-global --root photographs/ [--workers 2] [--set repeats=4] [--batches 15]

The last stage of the preset, whatever trains on its samples. The first batch is waited for and counts as the start.
"""

import argparse
import time
from pathlib import Path

import torch

from flowzoo.augmentation import collate
from flowzoo.distributed import Ranks
from flowzoo.training import loader
from flowzoo.training.flow.mixture import Mixture
from flowzoo.training.flow.task import settings_of as flow_settings
from flowzoo.training.recipe import load_recipe
from flowzoo.training.task import Data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset")
    parser.add_argument("--root", type=Path, required=True, metavar="DIR")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as for flowzoo train")
    parser.add_argument("--batches", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    changes = dict(change.split("=", 1) for change in arguments.set)
    recipe = load_recipe(arguments.preset, changes)
    stage = recipe.stages[-1]
    begin = time.perf_counter()
    samples = Mixture(flow_settings(stage).pairs, arguments.root, recipe.seed)
    batches = loader.batches(Data(samples, collate), 0, stage, Ranks(), arguments.workers)
    next(batches)
    started = last = time.perf_counter()
    for number in range(1, arguments.batches + 1):
        next(batches)
        now = time.perf_counter()
        print(f"batch {number}: {stage.batch / (now - last):.1f} samples/s", flush=True)
        last = now
    rate = arguments.batches * stage.batch / (last - started)
    print(f"start {started - begin:.1f} s, then {rate:.1f} samples/s, {arguments.workers} processes")


if __name__ == "__main__":
    main()
