"""What `flowzoo evaluate` costs beyond the network: reading, decoding and scoring against the network alone.

    python tools/time_evaluation.py --root DATA [--dataset sintel-final] [--model liteflownet2] [--repeat 5]

Both run over the same pairs in turns, the network on images that are already in memory; the fastest of each counts.
Weights are random: time does not depend on them.
"""

import argparse
import time
from pathlib import Path

import torch

import flowzoo
from flowzoo.datasets.catalogue import open_dataset
from flowzoo.evaluation.loop import EvaluationLoop
from flowzoo.evaluation.predictors import NetworkPredictor
from flowzoo.evaluation.protocols import protocol_for
from flowzoo.inference.estimator import Estimator


def main() -> None:
    """Read the options, time, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--dataset", default="sintel-final")
    parser.add_argument("--model", default="liteflownet2")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    estimator = Estimator(flowzoo.create(arguments.model), precision=getattr(torch, arguments.precision))
    dataset = open_dataset(arguments.dataset, arguments.root, None, partial=True)
    predictor = NetworkPredictor(estimator, dataset)
    protocol = protocol_for(arguments.dataset, mask_invalid=False)
    loaded = [predictor.load(pair) for pair in dataset.pairs]
    alone, whole = [], []
    for _ in range(arguments.repeat):
        begin = time.perf_counter()
        for arrays in loaded:
            predictor.predict([arrays])
        alone.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        EvaluationLoop(dataset, protocol, predictor, workers=arguments.workers).run()
        whole.append(time.perf_counter() - begin)
    count = len(dataset)
    print(f"{arguments.model} on {count} pairs of {arguments.dataset}, {torch.get_num_threads()} threads")
    print(f"network alone {min(alone) / count:.3f} s a pair, evaluation {min(whole) / count:.3f} s a pair")
    print(f"evaluation takes {min(whole) / min(alone):.3f} of the network's time")


if __name__ == "__main__":
    main()
