"""Caffe's trained networks: a NetParameter message with the layers' names and blobs.

Field numbers from caffe.proto: NetParameter{layers=2, layer=100}; LayerParameter{name=1, type=2, blobs=7};
V1LayerParameter{name=4, type=5, blobs=6}; BlobProto{num, channels, height, width=1..4, data=5, shape=7,
double_data=8}; BlobShape{dim=1}.
"""

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowzoo.checkpoints.formats.checkpoint import Checkpoint
from flowzoo.checkpoints.formats.protobuf import BYTES, FIXED32, FIXED64, VARINT, WireError, fields, varints
from flowzoo.errors import InputError
from flowzoo.files.reading import DAMAGE, reason, shown

_LAYER, _V1_LAYER = 100, 2
# Tags (field << 3 | type) with which a NetParameter can begin: its name, its inputs, or a layer of either kind.
_BEGINNINGS = (b"\x0a", b"\x12", b"\x1a", b"\xa2\x06")
_MOST_BLOBS = 20_000
_MOST_AXES = 16
_FIRST_LOOK = 64


def is_caffemodel(head: bytes) -> bool:
    """Whether a file that begins like this may be one; only reading it all tells."""
    return head.startswith(_BEGINNINGS)


def read(content: bytes, path: Path) -> Checkpoint:
    """Blobs as tensors named LAYER/0, LAYER/1, ...; layers without blobs are left out.

    `path` is named in messages.

    Raises:
        InputError: it is no such file, or a damaged one.
    """
    try:
        name, layers = _net(memoryview(content))
    except WireError as error:
        raise InputError(f"{path} is no .caffemodel, or a truncated one (it {error}): fetch it again") from error
    except DAMAGE as error:
        raise InputError(f"{path} is a damaged .caffemodel ({reason(error)}): fetch it again") from error
    tensors: dict[str, Tensor] = {}
    for layer, blobs in layers:
        for index, blob in enumerate(blobs):
            if f"{layer}/{index}" in tensors:
                raise InputError(f"{path} has two layers named {shown(layer)!r} with weights")
            tensors[f"{layer}/{index}"] = blob
    if not tensors:
        raise InputError(f"{path} is no .caffemodel, or one without weights")
    return Checkpoint(tensors, "caffemodel", {"name": shown(name)} if name else {})


def _net(data: memoryview) -> tuple[str, list[tuple[str, list[Tensor]]]]:
    name = ""
    layers: list[tuple[str, list[Tensor]]] = []
    blobs = 0
    for number, kind, value, _ in fields(data):
        if kind == BYTES and isinstance(value, memoryview):
            if number == 1:
                name = _text(value)
            elif number == _LAYER:
                layers.append(_layer(value, name_field=1, blobs_field=7))
            elif number == _V1_LAYER:
                layers.append(_layer(value, name_field=4, blobs_field=6))
            blobs += len(layers[-1][1]) if layers and number in (_LAYER, _V1_LAYER) else 0
            if blobs > _MOST_BLOBS:
                raise WireError(f"has more than {_MOST_BLOBS} arrays")
    return name, layers


def _layer(data: memoryview, name_field: int, blobs_field: int) -> tuple[str, list[Tensor]]:
    name = ""
    blobs = []
    for number, kind, value, _ in fields(data):
        if kind == BYTES and isinstance(value, memoryview):
            if number == name_field:
                name = _text(value)
            elif number == blobs_field:
                blobs.append(_blob(value))
                if len(blobs) > _MOST_BLOBS:
                    raise WireError(f"has more than {_MOST_BLOBS} arrays")
    if blobs and not name:
        raise WireError("has weights in a layer without a name")
    return name, blobs


def _blob(data: memoryview) -> Tensor:
    legacy: dict[int, int] = {}
    shape: list[int] | None = None
    parts: list[np.ndarray] = []
    unpacked_until = 0
    for number, kind, value, start in fields(data):
        if isinstance(value, int):
            if kind == VARINT and number <= 4:
                legacy[number] = value
        elif number == 7 and kind == BYTES:
            shape = _shape(value)
        elif number in (5, 8) and kind == BYTES:
            item = 4 if number == 5 else 8
            if len(value) % item:
                raise WireError("has a list of numbers that ends inside one")
            parts.append(np.frombuffer(value, f"<f{item}"))
        elif (number, kind) in ((5, FIXED32), (8, FIXED64)) and start >= unpacked_until:
            run = _unpacked(data, start, len(value))
            parts.append(run)
            unpacked_until = start + run.size * (1 + len(value))
    numbers = np.concatenate(parts) if parts else np.zeros(0, "<f4")
    if shape is None:
        # Old blobs have four axes, and a bias is 1x1x1xN; in newer ones it is N.
        shape = [legacy.get(axis, 1) for axis in (1, 2, 3, 4)]
        shape = shape[3:] if shape[:3] == [1, 1, 1] else shape
    if len(shape) > _MOST_AXES:
        raise WireError(f"has a blob of {len(shape)} axes")
    if math.prod(shape) != numbers.size:
        raise WireError(f"has a blob of shape {tuple(shape)} with {numbers.size} numbers")
    return torch.from_numpy(numbers.astype(np.float32)).reshape(shape)


def _unpacked(data: memoryview, start: int, item: int) -> np.ndarray:
    """The run of fields like the one at `start`: a tag of one byte and `item` bytes each, all at once.

    The look ahead doubles, so that the time is linear in the length of the run and not of the data.
    """
    step = 1 + item
    if start + step >= len(data) or data[start + step] != data[start]:
        return np.frombuffer(data[start + 1 : start + step], f"<f{item}")
    longest, look = (len(data) - start) // step, _FIRST_LOOK
    while True:
        look = min(look, longest)
        rows = np.frombuffer(data[start : start + look * step], np.uint8).reshape(-1, step)
        same = rows[:, 0] == rows[0, 0]
        count = look if same.all() else int(same.argmin())
        if count < look or look == longest:
            return np.ascontiguousarray(rows[:count, 1:]).view(f"<f{item}")[:, 0]
        look *= 2


def _shape(data: memoryview) -> list[int]:
    shape: list[int] = []
    for number, kind, value, _ in fields(data):
        if number == 1:
            if kind == VARINT and isinstance(value, int):
                shape.append(value)
            elif kind == BYTES and isinstance(value, memoryview):
                shape += varints(value)
    return shape


def _text(value: memoryview) -> str:
    try:
        return bytes(value).decode()
    except UnicodeDecodeError as error:
        raise WireError("has a name that is no text") from error
