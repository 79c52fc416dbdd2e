"""Writes files as the publishers of weights did: independent of the library's readers."""

import io
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np

# ---------------------------------------------------------------------------------------------- Caffe


def varint(value: int) -> bytes:
    out = bytearray()
    while True:
        byte, value = value & 0x7F, value >> 7
        out.append(byte | (0x80 if value else 0))
        if not value:
            return bytes(out)


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited field."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def number_field(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def blob(array: np.ndarray, *, legacy: bool = False, packed: bool = True) -> bytes:
    """A BlobProto; legacy ones have four axes and a bias of N is 1x1x1xN."""
    if legacy:
        axes = (1,) * (4 - array.ndim) + array.shape
        out = b"".join(number_field(index + 1, size) for index, size in enumerate(axes))
    else:
        out = field(7, field(1, b"".join(varint(size) for size in array.shape)))
    values = array.astype("<f4")
    if packed:
        return out + field(5, values.tobytes())
    return out + b"".join(varint(5 << 3 | 5) + struct.pack("<f", value) for value in values.ravel())


def layer(name: str, kind: str, blobs: list[bytes]) -> bytes:
    content = field(1, name.encode()) + field(2, kind.encode()) + field(3, b"bottom") + field(4, b"top")
    return field(100, content + b"".join(field(7, item) for item in blobs))


def old_layer(name: str, kind: int, blobs: list[bytes]) -> bytes:
    """A V1LayerParameter."""
    content = field(2, b"bottom") + field(4, name.encode()) + number_field(5, kind)
    return field(2, content + b"".join(field(6, item) for item in blobs))


def caffemodel(layers: list[bytes], name: str = "net") -> bytes:
    return field(1, name.encode()) + b"".join(layers)


def tar_gz(path: Path, **members: bytes) -> None:
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name.replace("__", "."))
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


# -------------------------------------------------------------- torch under Python 2, before version 0.4


def python2_text(text: bytes) -> bytes:
    """SHORT_BINSTRING, which Python 3 never writes."""
    return b"U" + bytes([len(text)]) + text


def integer(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def python2_torch_file(tensors: dict[str, np.ndarray], numpy_scalar: float, storage_module: bytes) -> bytes:
    """{"epoch": 7, "best": numpy scalar, "state_dict": OrderedDict([...])} as torch 0.2 under Python 2 wrote it."""
    entries = b""
    storages = b""
    for index, (name, array) in enumerate(tensors.items()):
        size = b"(" + b"".join(integer(n) for n in array.shape) + b"t"
        stride = b"(" + b"".join(integer(n // array.itemsize) for n in array.strides) + b"t"
        storage = b"(" + python2_text(b"storage")
        storage += b"c" + storage_module + b"\nFloatStorage\n" + python2_text(b"%d" % index)
        storage += python2_text(b"cuda:0") + integer(array.size) + b"NtQ"
        tensor = b"ctorch._utils\n_rebuild_tensor\n(" + storage + integer(0) + size + stride + b"tR"
        entries += b"](" + python2_text(name.encode()) + tensor + b"e"
        storages += struct.pack("<q", array.size) + array.astype("<f4").tobytes()
    state = b"ccollections\nOrderedDict\n(](" + entries + b"etR"
    dtype = b"cnumpy\ndtype\n(" + python2_text(b"f8") + integer(0) + integer(1) + b"tR"
    dtype += b"(" + integer(3) + python2_text(b"<") + b"NNN" + integer(-1) + integer(-1) + integer(0) + b"tb"
    scalar = b"cnumpy.core.multiarray\nscalar\n(" + dtype + python2_text(struct.pack("<d", numpy_scalar)) + b"tR"
    content = b"}(" + python2_text(b"epoch") + integer(7) + python2_text(b"best") + scalar
    content += python2_text(b"state_dict") + state + b"u"
    keys = b"](" + b"".join(python2_text(b"%d" % index) for index in range(len(tensors))) + b"e"
    head = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
    head += pickle.dumps({"little_endian": True, "protocol_version": 1001, "type_sizes": {}}, 2)
    return head + b"\x80\x02" + content + b"." + b"\x80\x02" + keys + b"." + storages
