"""The pairs of a training stage: several sources in stated shares, in an order that a number fixes.

Sample `n` of a run is always the same, whoever asks for it: its source, its pair and its augmentation follow from
(seed, n). So a run can be continued at any sample, and any number of ranks and workers see the same samples.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from flowzoo.augmentation import Augmentation, AugmentationSettings, TrainingSample
from flowzoo.augmentation.hd3 import hd3_chairs, hd3_kitti, hd3_sintel, hd3_things
from flowzoo.augmentation.raft import raft_chairs, raft_kitti, raft_sintel, raft_things
from flowzoo.errors import InputError
from flowzoo.settings import convert, shown, suggestion
from flowzoo.training.flow.settings import PairSettings
from flowzoo.training.flow.sources import Source, open_source

AUGMENTATIONS = {
    "none": AugmentationSettings,
    "synthetic": AugmentationSettings.synthetic,
    "rendered": AugmentationSettings.rendered,
    "flownet2": AugmentationSettings.flownet2,
    "chairs": AugmentationSettings.chairs,
    "sintel": AugmentationSettings.sintel,
    "kitti": AugmentationSettings.kitti,
    "hd3-chairs": hd3_chairs,
    "hd3-things": hd3_things,
    "hd3-kitti": hd3_kitti,
    "hd3-sintel": hd3_sintel,
    "raft-chairs": raft_chairs,
    "raft-things": raft_things,
    "raft-sintel": raft_sintel,
    "raft-kitti": raft_kitti,
}
LARGEST_SHARE = 10000


class Mixture(torch.utils.data.Dataset[TrainingSample]):
    """Samples by number, without end.

    Each source is walked through in a random order that changes with every round, so that no pair is seen twice before
    all were seen once, but for the samples in a row that the setting `repeats` makes of each. With shares a:b, a of
    every a+b consecutive pairs come from the first source.

    Raises:
        InputError: an unknown source or augmentation, a source without pairs, or a share that is no whole number.
    """

    def __init__(self, pairs: PairSettings, root: Path | None, seed: int) -> None:
        self.seed, self.repeats = seed, pairs.repeats
        if pairs.augmentation not in AUGMENTATIONS:
            known = suggestion(pairs.augmentation, AUGMENTATIONS)
            raise InputError(f"there is no augmentation {shown(pairs.augmentation)}: {known}")
        self.augmentation = Augmentation(AUGMENTATIONS[pairs.augmentation](), pairs.crop, seed)
        self.sources: list[Source] = []
        self.turns: list[tuple[int, int]] = []  # (source, which of its pairs in a cycle)
        self.shares: list[int] = []
        for number, entry in enumerate(pairs.data):
            name, _, share = entry.partition(":")
            parts = convert(share or "1", int, f"the share of {shown(name)}")
            if not 1 <= parts <= LARGEST_SHARE:
                raise InputError(f"the share of {shown(name)} must be 1 to {LARGEST_SHARE}, not {shown(parts)}")
            source = open_source(name, root, pairs.labels, pairs.both_directions, pairs.scene)
            if len(source) == 0:
                raise InputError(f"the data source {name!r} in {root} has no pairs")
            self.sources.append(source)
            self.shares.append(parts)
            self.turns += [(number, turn) for turn in range(parts)]
        self._last: tuple[tuple[int, int], TrainingSample] | None = None  # place and pair
        self._orders: dict[int, tuple[int, NDArray[np.int64]]] = {}

    def __getitem__(self, number: int) -> TrainingSample:
        """Sample `number` (from 0)."""
        return self.augmentation(self.pair(number), self.place(number)[0], number)

    def pair(self, number: int) -> TrainingSample:
        """What sample `number` is made of; the same object for samples in a row that are made of one pair."""
        place = self.place(number)
        if self._last is None or self._last[0] != place:
            self._last = place, self.sources[place[0]][place[1]]
        return self._last[1]

    def place(self, number: int) -> tuple[int, int]:
        """Where sample `number` comes from: its source's place in `sources`, and the pair of that."""
        cycle, place = divmod(number // self.repeats, len(self.turns))
        source, turn = self.turns[place]
        return source, self._index(source, cycle * self.shares[source] + turn)

    def _index(self, source: int, count: int) -> int:
        """The pair that the source gives as its `count`-th."""
        length = len(self.sources[source])
        tour, position = divmod(count, length)
        if self._orders.get(source, (-1,))[0] != tour:
            order = np.random.default_rng((self.seed, source, tour)).permutation(length)
            self._orders[source] = (tour, order)
        return int(self._orders[source][1][position])
