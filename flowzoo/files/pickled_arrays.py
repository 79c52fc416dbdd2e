"""NumPy's arrays, numbers and types inside pickles, rebuilt from their bytes by code of ours.

NumPy's own types take their state from the file without a check of it: a forged one makes them write to any address.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from flowzoo.files.pickle_names import Name
from flowzoo.files.pickles import PickleError

KINDS = "?bBhHiIlLqQefdgFD"
"""Letters of the plain number types that arrays may have."""
_ORDERS: dict[Any, Literal["<", ">", "="]] = {"<": "<", ">": ">", "|": "=", "=": "="}
_NAMES = {np.dtype(kind).str[1:] for kind in KINDS} | set(KINDS)


@dataclass(frozen=True)
class _Type:
    """A number type, of which the file tells the byte order in a second step."""

    kind: np.dtype[Any]

    def finished(self, state: Any) -> "_Type":
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in _ORDERS or any(state[2:5]):
            raise PickleError("a number type has an unknown state")
        return replace(self, kind=self.kind.newbyteorder(_ORDERS[state[1]]))


@dataclass(frozen=True)
class _Array:
    """An array whose content comes in a second step."""

    def finished(self, state: Any) -> Any:
        if not isinstance(state, tuple) or len(state) != 5:
            raise PickleError("an array has an unknown state")
        _, shape, kind, columns_first, content = state
        return _array(content, kind, shape, "F" if columns_first else "C")


def _array(content: Any, kind: Any, shape: Any, order: Any = "C") -> Any:
    if isinstance(content, str):  # of Python 2
        content = content.encode("latin-1")
    if isinstance(content, bytearray):  # of protocol 5
        content = bytes(content)
    if isinstance(content, list) and isinstance(kind, _Object):
        return content
    if not isinstance(kind, _Type) or not isinstance(content, bytes) or not isinstance(shape, tuple):
        raise PickleError("it holds an array that is not of plain numbers")
    if len(shape) > 32 or any(not isinstance(side, int) or side < 0 for side in shape):
        raise PickleError("an array has an impossible shape")
    if math.prod(shape) * kind.kind.itemsize != len(content):
        raise PickleError(f"an array of shape {shape[:6]} has {len(content)} bytes")
    return np.frombuffer(content, kind.kind).reshape(shape, order="F" if order == "F" else "C")


def _scalar(kind: Any, content: Any = None) -> Any:
    if isinstance(kind, _Object):
        return content
    return _array(content, kind, ())[()]


class _Object:
    """The type of arrays of Python objects, which are kept as lists."""

    def finished(self, state: Any) -> "_Object":
        return self


def _number_type(name: Any = None, *_: Any) -> Any:
    if isinstance(name, Name):  # numpy.dtype(numpy.float32), say
        name = name.name
    if not isinstance(name, str):
        raise PickleError("a number type has no name")
    if name in ("O", "O8", "O4", "object"):
        return _Object()
    plain = name.lstrip("<>=|")
    if plain not in _NAMES and not (plain.isalnum() and plain in np.sctypeDict):
        raise PickleError("it holds an array that is not of plain numbers")
    kind = np.dtype(plain)
    if kind.char not in KINDS:
        raise PickleError("it holds an array that is not of plain numbers")
    return _Type(kind)


def _new_array(kind: Any = None, shape: Any = None, letter: Any = None) -> _Array:
    return _Array()


def _typed(letter: str) -> Any:
    return lambda *_: _Type(np.dtype(letter))


ARRAYS: dict[tuple[str, str], Any] = {("numpy", "dtype"): _number_type}
"""What `read_pickle` needs to know for files that hold arrays."""
for _package in ("numpy.core", "numpy._core"):
    ARRAYS |= {
        (f"{_package}.multiarray", "_reconstruct"): _new_array,
        (f"{_package}.multiarray", "scalar"): _scalar,
        (f"{_package}.numeric", "_frombuffer"): _array,
    }
ARRAYS |= {("numpy.dtypes", type(np.dtype(_kind)).__name__): _typed(_kind) for _kind in KINDS}
