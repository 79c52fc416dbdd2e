"""Which protocol scores which data set."""

from flowzoo.errors import InputError
from flowzoo.metrics import kitti, matching, sintel, spring
from flowzoo.metrics.protocol import Dense, Protocol

PER_IMAGE = ("middlebury", "hd1k", "pairs")
"""Sets whose images differ in size or in known pixels: their end-point error is the mean of the images' own."""


def protocol_for(dataset: str, *, mask_invalid: bool = False) -> Protocol:
    """The official protocol of a data set.

    Raises:
        InputError: `mask_invalid` for a data set without invalid masks.
    """
    if dataset.startswith("sintel-"):
        return sintel.Sintel(mask_invalid)
    if mask_invalid:
        raise InputError(f"--mask-invalid is for Sintel, not for {dataset}: no other set has such masks; drop it")
    special: dict[str, type[Protocol]] = {
        "kitti-2012": kitti.Kitti2012,
        "kitti-2015": kitti.Kitti2015,
        "spring": spring.Spring,
        "hpatches": matching.HPatches,
        "eth3d": matching.Eth3d,
        "megadepth": matching.MegaDepth,
        "tss": matching.Tss,
    }
    return special[dataset]() if dataset in special else Dense(per_image=dataset in PER_IMAGE)
