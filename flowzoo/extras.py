"""What is said where a package is missing that only an extra of the installation brings."""

from collections.abc import Iterator
from contextlib import contextmanager

from flowzoo.errors import InputError


@contextmanager
def needed_for(use: str, package: str, extra: str, instead: str = "") -> Iterator[None]:
    """Around the import of a package.

    Args:
        use: what needs it, with the verb: ".exr files need".
        package: its name, as a user installs it.
        extra: the extra that brings it.
        instead: what can be done without it: "give a .csv file".

    Raises:
        InputError: it is not installed, or it does not load here.
    """
    try:
        yield
    except ImportError as error:
        # One that is there may not go with another package here, and says so.
        fault = "" if isinstance(error, ModuleNotFoundError) else f" ({error})"
        way_out = f", or {instead}" if instead else ""
        raise InputError(f"{use} the package {package}{fault}: pip install 'flowzoo[{extra}]'{way_out}") from error
