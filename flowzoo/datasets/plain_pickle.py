"""Reading official files that are Python pickles, without letting them run anything."""

from pathlib import Path
from typing import Any

from flowzoo.errors import InputError
from flowzoo.files.pickled_arrays import ARRAYS
from flowzoo.files.pickles import CodeError, PickleError, read_pickle
from flowzoo.files.reading import opened, shown


def read_plain_pickle(path: Path) -> list[Any]:
    """A pickled list of plain values (dictionaries, texts, numbers, arrays).

    Raises:
        InputError: the file is damaged, holds something else, or asks for code.
    """
    with opened(path, "a list in Python's pickle format") as (file, size):
        try:
            content, foreign = read_pickle(file, size, ARRAYS)
        except CodeError as error:
            raise InputError(
                f"cannot read {path}: it asks for {error}, which is not data; get the official file again"
            ) from error
        except PickleError as error:
            raise InputError(f"cannot read {path}: {error}; get the official file again") from error
    if foreign:
        raise InputError(
            f"cannot read {path}: it holds {shown(', '.join(sorted(foreign)))}, which is not data; "
            "get the official file again"
        )
    if not isinstance(content, list):
        raise InputError(f"{path} holds a {type(content).__name__}, expected a list; get the official file again")
    return content
