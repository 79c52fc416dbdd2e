"""Augmentation that keeps the flow exact."""

from flowzoo.data.augment.augment import Augmentation, TrainingBatch, collate
from flowzoo.data.augment.sample import TrainingSample
from flowzoo.data.augment.settings import AugmentationSettings

__all__ = ["Augmentation", "AugmentationSettings", "TrainingBatch", "TrainingSample", "collate"]
