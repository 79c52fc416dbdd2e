"""Memory that tensors free stays with the process for the next: fresh pages cost networks up to a tenth of their time.

The C library of Linux systems maps every block of more than 128 KB (later more) anew, and the system fills each of its
pages with zeros. Commands change that for their own process; whoever imports flowzoo decides for theirs.
"""

import ctypes
import os
import sys

_TRIM, _MAPPED = -1, -3
"""glibc's numbers of the two settings (mallopt(3))."""
_LARGEST_KEPT = 32 << 20
"""Bytes of a block; glibc takes no more."""
_KEPT = 1 << 30
"""Bytes."""
_OWN_CHOICE = "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"


def keep_freed_memory() -> bool:
    """From now on blocks of up to 32 MB, 1 GB in all, stay with this process; False where that cannot be had.

    It changes nothing where the environment has glibc's settings for this, or the C library is another one.
    """
    if sys.platform != "linux" or any(name in os.environ for name in _OWN_CHOICE):
        return False
    setting = getattr(ctypes.CDLL(None), "mallopt", None)
    return setting is not None and bool(setting(_MAPPED, _LARGEST_KEPT)) and bool(setting(_TRIM, _KEPT))
