"""Validation during training, by the code of `flowzoo evaluate`, and sample pictures."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flowzoo.errors import InputError
from flowzoo.evaluation.loop import EvaluationLoop
from flowzoo.evaluation.predictors import NetworkPredictor
from flowzoo.evaluation.protocols import protocol_for
from flowzoo.evaluation.report import summarise
from flowzoo.files.images import eight_bits, write_image
from flowzoo.inference.estimator import Estimator
from flowzoo.network import FlowNetwork
from flowzoo.training.flow.sources import open_training_set
from flowzoo.visualise import flow_picture

PICTURES = 3


@dataclass(frozen=True)
class Validation:
    """Scores a network on data sets.

    Attributes:
        datasets: "NAME" or "NAME/SUBSET", under `root`.
        root: folder of the data sets.
        limit: pairs of each set, from its start; 0 = all.
    """

    datasets: tuple[str, ...]
    root: Path
    limit: int = 0

    def __post_init__(self) -> None:
        for name in self.datasets:
            if not len(open_training_set(name, self.root)):
                raise InputError(
                    f"the validation set {name!r} under {self.root} has no pairs: choose another with --validate"
                )

    def scores(self, network: FlowNetwork) -> dict[str, float]:
        """End-point error of each data set, in pixels, by its official protocol."""
        found = {}
        for name in self.datasets:
            dataset = open_training_set(name, self.root)
            protocol = protocol_for(dataset.name)
            loop = EvaluationLoop(
                dataset, protocol, NetworkPredictor(Estimator(network), dataset), limit=self.limit or None
            )
            metrics = summarise(protocol, loop.run(), 0)["metrics"]
            if metrics.get("epe") is None:
                raise InputError(
                    f"no pixel of the ground truth of the validation set {name!r} is valid: choose another with "
                    "--validate"
                )
            found[name] = float(metrics["epe"])
        return found

    def write_pictures(self, network: FlowNetwork, folder: Path, step: int) -> Iterator[Path]:
        """First image, true and estimated flow of a few pairs, side by side: `folder`/STEP-DATASET-N.png."""
        for name in self.datasets:
            dataset = open_training_set(name, self.root)
            for index in range(min(PICTURES, len(dataset))):
                sample = dataset[index]
                if sample.flow is None or sample.valid is None:
                    continue
                flow = Estimator(network)(sample.first, sample.second).flow
                largest = (
                    float(np.linalg.norm(sample.flow[sample.valid], axis=-1).max()) if sample.valid.any() else None
                )
                pictures = [
                    eight_bits(sample.first),
                    flow_picture(sample.flow, sample.valid, max_flow=largest or None),
                    flow_picture(flow, max_flow=largest or None),
                ]
                path = folder / f"{step:08d}-{dataset.name}-{index}.png"
                write_image(path, np.concatenate(pictures, axis=1))
                yield path
