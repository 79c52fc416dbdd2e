"""Writing a file so that it is either complete or not there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flowzoo.errors import InputError


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path` (same suffix); rename it to `path` when the block ends well.

    The temporary file is removed when the block raises, also on KeyboardInterrupt. Missing parent folders are made.

    Raises:
        InputError: the folder cannot be made or written, the disk is full, or `path` is a folder.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.stem}.{os.getpid()}.partial{target.suffix}")
    try:
        if target.is_dir():
            raise InputError(f"cannot write {target}: it is a folder; give a file name")
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"cannot write {target}: {reason}; choose another place or free some space") from error
    finally:
        temporary.unlink(missing_ok=True)
