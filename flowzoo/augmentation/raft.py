"""RAFT's augmentation (princeton-vl/RAFT, core/utils/augmentor.py), in the terms of `AugmentationSettings`.

Two things differ: widths and heights are stretched against each other instead of each by itself, and always where the
pair is zoomed instead of in four of five cases.
"""

from flowzoo.augmentation.settings import AugmentationSettings


def raft_chairs() -> AugmentationSettings:
    """FlyingChairs: zoom of 2^-0.1 to 2."""
    return _dense(-0.1, 1.0)


def raft_things() -> AugmentationSettings:
    """FlyingThings3D: zoom of 2^-0.4 to 2^0.8."""
    return _dense(-0.4, 0.8)


def raft_sintel() -> AugmentationSettings:
    """Sintel: zoom of 2^-0.2 to 2^0.6."""
    return _dense(-0.2, 0.6)


def raft_kitti() -> AugmentationSettings:
    """KITTI's sparse ground truth: zoom of 2^-0.2 to 2^0.4, no stretching, no flips, weaker colours."""
    return AugmentationSettings(
        spatial=0.8,
        zoom=(2**-0.2, 2**0.4),
        common_gain=0.3,
        common_contrast=0.3,
        common_saturation=0.3,
        common_hue=0.3 / 3.14,
        eraser=0.5,
    )


def _dense(smallest: float, largest: float) -> AugmentationSettings:
    return AugmentationSettings(
        spatial=0.8,
        zoom=(2**smallest, 2**largest),
        squeeze=2**0.2,
        horizontal_flip=0.5,
        vertical_flip=0.1,
        common_gain=0.4,
        common_contrast=0.4,
        common_saturation=0.4,
        common_hue=0.5 / 3.14,
        asymmetric=0.2,
        eraser=0.5,
    )
