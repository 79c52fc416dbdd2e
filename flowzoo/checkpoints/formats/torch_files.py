"""Files of `torch.save`, old and new, opened without running anything that is in them."""

import argparse
import codecs
import importlib
import pickle
import re
import struct
import warnings
from collections import OrderedDict
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import torch

from flowzoo.checkpoints.formats.checkpoint import Checkpoint
from flowzoo.checkpoints.formats.nested import find_state_dict
from flowzoo.errors import InputError

# The pickled magic number with which files older than torch 1.6 begin.
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_ZIP = b"PK\x03\x04"


def is_torch(head: bytes) -> bool:
    """Whether a file that begins like this was written by `torch.save`."""
    return head.startswith((_ZIP, _LEGACY))


def read(path: Path) -> Checkpoint:
    """Read a torch file of any age: a state dict, alone or inside a training script's dict.

    Raises:
        InputError: it is damaged, it holds Python objects other than plain data, or no tensors.
    """
    tensors, facts = find_state_dict(_load(path))
    if not tensors:
        raise InputError(f"{path} is a torch file without a state dict in it")
    return Checkpoint(tensors, "torch", facts)


def _load(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals(_plain_data_types()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # latin1 is how the raw bytes of Python 2's strings (numpy scalars in old files) survive; it does not
            # touch text written by Python 3.
            return torch.load(path, map_location="cpu", weights_only=True, encoding="latin1")
    except pickle.UnpicklingError as error:
        # torch says so in a long text with advice that nobody should follow here.
        names = re.findall(r"GLOBAL ([\w.]+) (?:was not|whose)", str(error))
        if names:
            raise InputError(
                f"{path} holds code or objects besides tensors ({', '.join(names)}) and is not opened, because "
                "such a pickle can run anything: get the file from a source you trust, as a plain state dict"
            ) from error
        reason = str(error).rpartition("WeightsUnpickler error: ")[2].partition("Check the documentation")[0]
        raise InputError(
            f"{path} is a torch file that is damaged or cannot be opened safely: {_line(reason)}"
        ) from error
    except (
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        IndexError,
        TypeError,
        AttributeError,
        AssertionError,
        struct.error,
        OSError,
    ) as error:
        raise InputError(
            f"{path} is a damaged or truncated torch file ({_line(str(error) or type(error).__name__)}): fetch it again"
        ) from error


def _line(text: str) -> str:
    """The beginning of a long message, on one line."""
    text = " ".join(text.split())
    return text if len(text) <= 120 else text[:117] + "..."


def _plain_data_types() -> list[Any]:
    """Types that published files hold beside tensors and that are data only; names as the files write them."""
    multiarray = importlib.import_module("numpy._core.multiarray" if hasattr(np, "_core") else "numpy.core.multiarray")
    kinds = [np.dtype(kind) for kind in "?bBhHiIlLqQefd"]
    types: list[Any] = [
        *{type(kind) for kind in kinds},
        (np.dtype, "numpy.dtype"),
        (np.ndarray, "numpy.ndarray"),
        (codecs.encode, "_codecs.encode"),
        argparse.Namespace,
        # Read as pure paths: they name files, and never touch one.
        (PurePosixPath, "pathlib.PosixPath"),
        (PurePosixPath, "pathlib.PurePosixPath"),
        (PureWindowsPath, "pathlib.WindowsPath"),
        # Lightning's dict of hyper-parameters.
        (OrderedDict, "pytorch_lightning.utilities.parsing.AttributeDict"),
        (OrderedDict, "lightning.pytorch.utilities.parsing.AttributeDict"),
        (OrderedDict, "lightning_fabric.utilities.data.AttributeDict"),
    ]
    for package in ("numpy.core", "numpy._core"):
        types += [
            (multiarray.scalar, f"{package}.multiarray.scalar"),
            (multiarray._reconstruct, f"{package}.multiarray._reconstruct"),
        ]
    return types
