"""Augmentation that keeps the flow exact."""

from flowzoo.augmentation.augment import Augmentation, TrainingBatch, collate
from flowzoo.augmentation.sample import TrainingSample
from flowzoo.augmentation.settings import AugmentationSettings

__all__ = ["Augmentation", "AugmentationSettings", "TrainingBatch", "TrainingSample", "collate"]
