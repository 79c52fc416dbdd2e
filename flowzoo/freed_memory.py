"""Memory that tensors free stays with the process for the next: fresh pages cost networks up to a quarter of the time.

The C library of Linux systems maps every block of more than 128 KB (later more) anew, and the system fills each of its
pages with zeros. Commands and estimators on a CPU change that for their process; `Estimator(..., keep_memory=False)`
leaves it alone.
"""

import ctypes
import os
import sys

_TRIM, _MAPPED = -1, -3
"""glibc's numbers of the two settings (mallopt(3))."""
_LARGEST_KEPT = 128 << 20, 32 << 20
"""Bytes of a block; glibc before 2.35 takes no more than the second."""
_KEPT = 1 << 30
"""Bytes."""
_kept = False
"""Whether this process keeps freed memory."""
_OWN_CHOICE = "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"


def keep_freed_memory() -> bool:
    """From now on blocks of up to 128 MB, 1 GB in all, stay with this process; False where that cannot be had.

    The features of a 1024x436 pair at full size are such a block of 117 MB. Older C libraries keep up to 32 MB.

    It changes nothing where the environment has glibc's settings for this, or the C library is another one.
    """
    global _kept
    if sys.platform != "linux" or any(name in os.environ for name in _OWN_CHOICE):
        return False
    setting = getattr(ctypes.CDLL(None), "mallopt", None)
    _kept = (
        setting is not None and any(setting(_MAPPED, size) for size in _LARGEST_KEPT) and bool(setting(_TRIM, _KEPT))
    )
    return _kept


def give_back() -> None:
    """Freed memory that is kept goes back to the system, before something that needs room in larger blocks."""
    if _kept:
        ctypes.CDLL(None).malloc_trim(0)
