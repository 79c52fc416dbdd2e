"""Batches on their way from the processes that prepare them to the one that trains.

Tensors travel in shared memory, whose handles go through a socket in multiprocessing's temporary folder. A queue of
multiprocessing drops what it cannot send and its reader waits for ever, so a batch is packed before it is queued: what
goes wrong then (no shared memory, no more open files, no place for the socket) is a fault like any other.
"""

import os
import pickle
import tempfile
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import util
from multiprocessing.reduction import ForkingPickler
from typing import Any

from flowzoo.errors import InputError

LONGEST_FOLDER = 70
"""Bytes; an address of a socket may have 107, and up to 32 of them follow the folder."""
SHORT_FOLDERS = "/tmp", "/var/tmp", "/dev/shm"


def prepare_sockets() -> None:
    """Have multiprocessing keep its sockets in a folder with a short name, whatever TMPDIR is.

    Processes that start from now on inherit the folder; it is deleted when this process ends.
    """
    usual = tempfile.tempdir
    with suppress(OSError):
        if len(os.fsencode(tempfile.gettempdir())) <= LONGEST_FOLDER:
            return
    for folder in SHORT_FOLDERS:
        tempfile.tempdir = folder
        try:
            util.get_temp_dir()
            return
        except OSError:
            continue
        finally:
            tempfile.tempdir = usual


def joined(join: Callable[[list[Any]], Any], samples: list[Any]) -> Any:
    """What `join` makes of samples, in shared memory where it uses torch's `default_collate`.

    Raises:
        InputError: the system has no room for it.
    """
    try:
        return join(samples)
    except RuntimeError as error:
        if "shared memory" in str(error):
            raise _refusal(error) from error
        raise


def packed(part: Any) -> bytes:
    """A batch as bytes that another process of this run can unpack, once.

    Raises:
        InputError: the system has no room for it.
    """
    try:
        return bytes(ForkingPickler.dumps(part))
    except (OSError, RuntimeError) as error:
        raise _refusal(error) from error


def unpacked(content: bytes) -> Any:
    """What was packed.

    Raises:
        InputError: the system does not allow it.
    """
    try:
        return pickle.loads(content)  # of this run's own process
    except (OSError, EOFError, RuntimeError) as error:
        raise _refusal(error) from error


def _refusal(error: Exception) -> InputError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return InputError(
        f"a prepared batch does not get from one process to another ({reason}): more shared memory (/dev/shm), more "
        "open files (ulimit -n) or another TMPDIR may help; --workers 0 needs none of them"
    )
