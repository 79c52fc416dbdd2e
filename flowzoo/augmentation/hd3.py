"""HD3's augmentation (ucbdrive/hd3, train.py), in the terms of `AugmentationSettings`.

Two things differ: zoom is drawn log-uniformly instead of uniformly, and brightness uniformly with the deviation of
HD3's normal draw.
"""

from flowzoo.augmentation.settings import AugmentationSettings


def hd3_chairs() -> AugmentationSettings:
    """Zoom of 1 to 2 and both flips; colours stay."""
    return AugmentationSettings(zoom=(1.0, 2.0), horizontal_flip=0.5, vertical_flip=0.5)


def hd3_things() -> AugmentationSettings:
    """Both flips."""
    return AugmentationSettings(horizontal_flip=0.5, vertical_flip=0.5)


def hd3_kitti() -> AugmentationSettings:
    """Crops of 0.5 to 1.15 times the size, a horizontal flip, and colour changes common to both frames."""
    return _real(0.5, 1.15)


def hd3_sintel() -> AugmentationSettings:
    """As for KITTI, with crops of 0.5 to 1.13 times the size."""
    return _real(0.5, 1.13)


def _real(smallest: float, largest: float) -> AugmentationSettings:
    return AugmentationSettings(
        zoom=(1 / largest, 1 / smallest),
        horizontal_flip=0.5,
        common_gain=0.3,
        common_brightness=0.02 * 3**0.5,
        common_tint=0.1,
        common_gamma=(1 / 1.5, 1 / 0.7),
    )
