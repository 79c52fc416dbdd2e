"""Reading official files that are Python pickles, without letting them run anything."""

import io
import pickle
from pathlib import Path
from typing import Any

from flowzoo.errors import InputError

ALLOWED = {
    (module, name)
    for package in ("numpy.core", "numpy._core")
    for module, name in (
        (f"{package}.multiarray", "_reconstruct"),
        (f"{package}.multiarray", "scalar"),
        (f"{package}.numeric", "_frombuffer"),
    )
} | {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}
"""What arrays and numbers need; nothing else is ever looked up."""

DAMAGE = (ValueError, TypeError, AttributeError, IndexError, KeyError, MemoryError, OverflowError)
"""What reading random bytes can end in."""


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Only the constructors of arrays."""
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not data")
        return super().find_class(module, name)


def read_plain_pickle(path: Path) -> list[Any]:
    """A pickled list of plain values (dictionaries, texts, numbers, arrays).

    Raises:
        InputError: the file is damaged, holds something else, or asks for code.
    """
    try:
        content = _PlainUnpickler(io.BytesIO(path.read_bytes())).load()
    except (OSError, pickle.UnpicklingError, EOFError, ImportError, *DAMAGE) as error:
        raise InputError(f"cannot read {path}: {error}; get the official file again") from error
    if not isinstance(content, list):
        raise InputError(f"{path} holds a {type(content).__name__}, expected a list; get the official file again")
    return content
