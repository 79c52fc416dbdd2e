"""The evaluation loop: reading, predicting and scoring overlap; the result does not depend on how."""

import heapq
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from flowzoo.datasets.dataset import FlowDataset, Pair, Truth
from flowzoo.evaluation.predictors import FilePredictor, Found, Predictor, check_prediction
from flowzoo.metrics.protocol import Protocol
from flowzoo.metrics.statistics import Entry


@dataclass(frozen=True)
class Scored:
    """One pair's result: its index in the data set, its tallies (None without ground truth)."""

    index: int
    entry: Entry | None


@dataclass
class EvaluationLoop:
    """Scores this process's share of a data set.

    Batches are formed over the whole set before they are dealt to the processes, so that a pair is always computed
    together with the same others, whatever their number.

    Attributes:
        dataset, protocol, predictor: what is scored, how, and where its flow comes from.
        batch_size: pairs that are predicted together.
        workers: threads that read and score.
        limit: number of pairs to take, from the start of the set.
        keep_worst: predictions of that many worst pairs are kept for pictures.
        keep: called with every pair's flow (for a submission).
        progress: called with the number of pairs that are done.
    """

    dataset: FlowDataset
    protocol: Protocol
    predictor: Predictor
    batch_size: int = 1
    workers: int = 1
    limit: int | None = None
    keep_worst: int = 0
    keep: Callable[[Pair, np.ndarray], None] | None = None
    progress: Callable[[int], object] | None = None

    def __post_init__(self) -> None:
        self.worst: list[tuple[float, int, Found]] = []

    @property
    def count(self) -> int:
        """Pairs of all processes."""
        return len(self.dataset) if self.limit is None else min(self.limit, len(self.dataset))

    def run(self, rank: int = 0, world: int = 1) -> list[Scored]:
        """Results of every `world`-th batch from `rank` on, in order.

        Raises:
            InputError: a file is missing, damaged or of the wrong size.
        """
        starts = range(0, self.count, self.batch_size)[rank::world]
        batches = [range(start, min(start + self.batch_size, self.count)) for start in starts]
        results: list[Scored] = []
        scoring: deque[Future[tuple[Scored, Found]]] = deque()
        with ThreadPoolExecutor(self.workers, "flowzoo-evaluate", _step_back) as pool:
            try:
                for batch, loaded in self._loaded(pool, batches):
                    predictions = self.predictor.predict([arrays for arrays, _ in loaded])
                    for index, (_, truth), found in zip(batch, loaded, predictions, strict=True):
                        scoring.append(pool.submit(self._score, index, truth, found))
                    while len(scoring) > 2 * self.batch_size + self.workers:
                        results.append(self._done(scoring.popleft()))
                while scoring:
                    results.append(self._done(scoring.popleft()))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return results

    def _loaded(
        self, pool: ThreadPoolExecutor, batches: Sequence[range]
    ) -> Iterator[tuple[range, list[tuple[tuple[np.ndarray, ...], Truth | None]]]]:
        """Batches with what they need; the next ones are read meanwhile."""
        ahead: deque[tuple[range, list[Future[tuple[tuple[np.ndarray, ...], Truth | None]]]]] = deque()
        upcoming = iter(batches)
        depth = 1 + -(-self.workers // self.batch_size)
        while True:
            while len(ahead) < depth and (batch := next(upcoming, None)) is not None:
                ahead.append((batch, [pool.submit(self._load, index) for index in batch]))
            if not ahead:
                return
            batch, futures = ahead.popleft()
            loaded = [future.result() for future in futures]
            if (following := next(upcoming, None)) is not None:
                ahead.append((following, [pool.submit(self._load, index) for index in following]))
            yield batch, loaded

    def _load(self, index: int) -> tuple[tuple[np.ndarray, ...], Truth | None]:
        pair = self.dataset.pairs[index]
        return self.predictor.load(pair), self.dataset.read_truth(pair)

    def _score(self, index: int, truth: Truth | None, found: Found) -> tuple[Scored, Found]:
        pair = self.dataset.pairs[index]
        size = self.dataset.prediction_size(pair) if truth is None else truth.size
        if isinstance(self.predictor, FilePredictor):
            where = f"prediction {self.predictor.path(pair)}"
        else:
            # A network may have seen padded images; its flow is cut back to the image.
            where = f"the network's flow of {pair.name}"
            found = (found[0][: size[0], : size[1]], found[1][: size[0], : size[1]])
        flow, valid = check_prediction(found, size, sparse=self.protocol.sparse and truth is not None, where=where)
        if self.keep is not None:
            self.keep(pair, flow)
        entry = None if truth is None else Entry(pair.name, pair.group, self.protocol.measure(flow, valid, truth))
        return Scored(index, entry), (flow, valid)

    def _done(self, future: "Future[tuple[Scored, Found]]") -> Scored:
        scored, found = future.result()
        if self.keep_worst and scored.entry is not None:
            error = error_of(scored.entry)
            if error is not None:
                heapq.heappush(self.worst, (error, -scored.index, found))
                if len(self.worst) > self.keep_worst:
                    heapq.heappop(self.worst)
        if self.progress is not None:
            self.progress(1)
        return scored


def _step_back() -> None:
    """Let this thread take the time that the network leaves: on a CPU a parallel step is as fast as its last thread."""
    if sys.platform == "linux":  # elsewhere priorities belong to processes
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, max(10, os.getpriority(os.PRIO_PROCESS, thread)))


def error_of(entry: Entry) -> float | None:
    """Mean end-point error of one pair, by which pairs are ordered; None where no pixel is known."""
    total, count = entry.statistics["epe"]
    return total / count if count else None
