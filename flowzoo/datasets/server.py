"""What a benchmark's server takes: facts of a data set."""

from dataclasses import dataclass

KITTI_LIMITS = (-512.0, 511.984375)
"""What KITTI's 16-bit encoding can hold, pixels."""


@dataclass(frozen=True)
class ServerLayout:
    """The files that a server takes.

    Attributes:
        subset: the split that it scores.
        folder: where the predictions' tree begins, below the submission's folder.
        advice: what to do with the files; {0} stands for the submission's folder.
        archive: zip file of that tree, or "" where the server's own tool packs it.
        limits: least and greatest value that its format holds, or None.
    """

    subset: str
    folder: str
    advice: str
    archive: str = ""
    limits: tuple[float, float] | None = None
