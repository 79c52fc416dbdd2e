"""One evaluation from options to report: the body of `flowzoo evaluate`, usable from Python too."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flowzoo.datasets.catalogue import dataset_class, open_dataset
from flowzoo.datasets.dataset import FlowDataset
from flowzoo.distributed import Ranks, start
from flowzoo.errors import InputError, counted
from flowzoo.evaluation.contact_sheet import contact_sheet
from flowzoo.evaluation.loop import EvaluationLoop, Scored
from flowzoo.evaluation.pictures import write_error_pictures
from flowzoo.evaluation.predictors import FilePredictor, NetworkPredictor, Predictor
from flowzoo.evaluation.protocols import protocol_for
from flowzoo.evaluation.report import Report, summarise, write_text
from flowzoo.evaluation.submission import Submission
from flowzoo.files.run_files import RunFiles

if TYPE_CHECKING:
    from flowzoo.inference.estimator import Estimator

SHEET = "index.html"
"""Name of the contact sheet in the folder of error maps."""


@dataclass
class Evaluation:
    """What to evaluate.

    Attributes:
        dataset: a name of `flowzoo.datasets.catalogue.list_datasets`.
        root: folder of the data set, or its parent.
        subset: one of the data set's; None = its first, or the server's split for a submission.
        partial: take the pairs that are there.
        limit: take that many pairs from the start.
        predictions: folder of flow files to score instead of running a network.
        submission: folder for what the benchmark's server takes.
        mask_invalid: leave out Sintel's invalid pixels.
        batch_size, workers: pairs at once, and threads that read and score.
        worst: number of worst pairs to name, and to draw into `pictures`, with a page that shows all of them.
        reports: files that the caller writes afterwards.
        inputs: files that the caller reads, such as weights.
    """

    dataset: str
    root: Path
    subset: str | None = None
    partial: bool = False
    limit: int | None = None
    predictions: Path | None = None
    submission: Path | None = None
    mask_invalid: bool = False
    batch_size: int = 1
    workers: int = 1
    worst: int = 0
    pictures: Path | None = None
    reports: tuple[Path, ...] = ()
    inputs: tuple[Path, ...] = ()

    def run(
        self,
        make_estimator: "Callable[[Ranks], tuple[Estimator, str]] | None" = None,
        *,
        progress: bool = False,
    ) -> Report | None:
        """Evaluate; None in all processes of `torchrun` but the first.

        Args:
            make_estimator: makes the network and says which weights it has; not called for `predictions`.
            progress: show a bar.

        Raises:
            InputError: see the messages; in one process only.
        """
        with start() as ranks:
            with ranks.agreement():
                dataset, loop, submission, who = self._prepare(make_estimator, ranks)
            try:
                if submission is not None:
                    ranks.from_leader(submission.begin)
                return self._score(dataset, loop, submission, who, ranks, progress)
            finally:
                if submission is not None and ranks.leads:
                    submission.discard()

    def _prepare(
        self, make_estimator: "Callable[[Ranks], tuple[Estimator, str]] | None", ranks: Ranks
    ) -> tuple[FlowDataset, EvaluationLoop, Submission | None, tuple[str | None, str | None]]:
        """Everything that can go wrong before the first pair."""
        who: tuple[str | None, str | None]
        for name in ("limit", "batch_size", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"--{name.replace('_', '-')} must be at least 1, got {value}")
        if self.worst < 0:
            raise InputError(f"--worst must be at least 0, got {self.worst}")
        protocol = protocol_for(self.dataset, mask_invalid=self.mask_invalid)
        subset = self.subset
        server = dataset_class(self.dataset).server
        if subset is None and self.submission is not None and server is not None:
            subset = server.subset
        dataset = open_dataset(self.dataset, self.root, subset, partial=self.partial, images=self.predictions is None)
        if self.partial and len(dataset) < dataset.expected:
            dataset.notes.insert(0, f"partial: {counted(len(dataset), 'pair', 'are', of=dataset.expected)} there")
        scored = (
            FilePredictor(self.predictions, dataset, self.limit, partial=self.partial) if self.predictions else None
        )
        count = len(dataset) if self.limit is None else min(self.limit, len(dataset))
        submission = None if self.submission is None else Submission(self.submission, dataset, count)
        self._check_files(dataset, scored, submission)
        predictor: Predictor
        if scored is not None:
            predictor, who = scored, (None, None)
        elif make_estimator is None:
            raise InputError("give a network, or --predictions with a folder of flow files")
        else:
            estimator, weights = make_estimator(ranks)
            predictor = NetworkPredictor(estimator, dataset)
            who = (estimator.network.model_name, weights)
        loop = EvaluationLoop(
            dataset,
            protocol,
            predictor,
            self.batch_size,
            self.workers,
            self.limit,
            self.worst if self.pictures is not None else 0,
            None if submission is None else submission.keep,
        )
        return dataset, loop, submission, who

    def _check_files(
        self, dataset: FlowDataset, predictions: FilePredictor | None, submission: Submission | None
    ) -> None:
        """No result may replace a file of the data set or a prediction."""
        files = RunFiles()
        files.reads(*dataset.files(), *self.inputs)
        if predictions is not None:
            files.reads(*predictions.files.values())
        for path in self.reports:
            files.writes(path, f"the report {path.name}")
        if submission is not None:
            for path in submission.outputs():
                files.writes(path, f"{path.name} of the submission")
        if self.pictures is not None:
            files.writes_into(self.pictures, "error maps")
        files.check()

    def _score(
        self,
        dataset: FlowDataset,
        loop: EvaluationLoop,
        submission: Submission | None,
        who: tuple[str | None, str | None],
        ranks: Ranks,
        progress: bool,
    ) -> Report | None:
        """Run all pairs and put the processes' results together."""
        from tqdm import tqdm

        share = len(range(0, loop.count, loop.batch_size)[ranks.rank :: ranks.count])
        total = loop.count if ranks.count == 1 else min(share * loop.batch_size, loop.count)
        hidden = not (progress and ranks.leads and sys.stderr.isatty())
        # A process that fails here says so and ends; torchrun then stops the others instead of letting them finish.
        with tqdm(total=total, unit="pair", desc=dataset.name, disable=hidden) as bar:
            loop.progress = bar.update
            mine = loop.run(ranks.rank, ranks.count)
        everything: list[tuple[list[Scored], float]] = ranks.gather((mine, loop.predictor.seconds))
        results = [result for part, _ in everything for result in part]
        summary = summarise(loop.protocol, results, self.worst)
        notes = [*dataset.notes, *(loop.protocol.notes if summary["metrics"] else ()), *_without_truth(results)]
        if self.pictures is not None:
            rows = write_error_pictures(self.pictures, dataset, summary["worst"], loop.worst)
            everybodys = ranks.gather(rows)
            if ranks.leads:
                title = f"{dataset.title}: the worst pairs"
                sheet = contact_sheet(title, [row for some in everybodys for row in some])
                write_text(self.pictures / SHEET, sheet)
        if submission is not None and ranks.leads:
            notes.append(submission.finish())
        if not ranks.leads:
            return None
        seconds = None if self.predictions is not None else sum(time for _, time in everything) / max(1, len(results))
        return Report(
            dataset=dataset.name,
            subset=dataset.subset,
            model=who[0],
            weights=who[1],
            pairs=len(results),
            expected=dataset.expected,
            seconds_per_pair=seconds,
            notes=notes,
            predictions=None if self.predictions is None else str(self.predictions),
            **summary,
        )


def _without_truth(results: list[Scored]) -> list[str]:
    """A note on pairs whose ground truth knows no pixel.

    Raises:
        InputError: there are no others.
    """
    entries = [result.entry for result in results if result.entry is not None]
    empty = [entry.name for entry in entries if not entry.statistics["epe"][1]]
    if empty and len(empty) == len(entries):
        raise InputError(
            f"no pixel of the ground truth of any pair is valid, {empty[0]} for one: in KITTI's format the third "
            "channel is 0 everywhere, in others all values are NaN or too large; write it again with its valid mask"
        )
    if not empty:
        return []
    return [f"no pixel of the ground truth is valid for {counted(len(empty), 'pair')}, first {empty[0]}"]
