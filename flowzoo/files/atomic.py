"""Writing a file so that it is either complete or not there."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flowzoo.errors import InputError
from flowzoo.files.reading import reason


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path` (same suffix); rename it to `path` when the block ends well.

    The temporary file is removed when the block raises, also on KeyboardInterrupt. Its name starts with a dot, so a
    listing of results never shows what a killed process left. Missing parent folders are made.

    Raises:
        InputError: the folder cannot be made or written, the disk is full, or `path` is a folder or a device.
    """
    target = Path(path)
    # Short, so that a long but legal file name stays legal; random, so that threads and hosts never share one.
    temporary = target.with_name(f".{target.stem[:40]}.{secrets.token_hex(6)}.partial{target.suffix[:20]}")
    try:
        if target.is_dir():
            raise InputError(f"cannot write {target}: it is a folder; give a file name")
        if target.exists() and not target.is_file():
            raise InputError(f"cannot write {target}: it is not an ordinary file; give another name")
        _make_folder(target.parent, target)
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        raise InputError(f"cannot write {target}: {reason(error)}; choose another place or free some space") from error
    finally:
        # Nothing was written where even looking for the temporary file fails.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _make_folder(folder: Path, target: Path) -> None:
    """Make `folder` and its parents; say so where an ordinary file is in the way."""
    for parent in (folder, *folder.parents):
        if parent.exists():
            if not parent.is_dir():
                raise InputError(f"cannot write {target}: {parent} is a file, not a folder; choose another place")
            break
    folder.mkdir(parents=True, exist_ok=True)
