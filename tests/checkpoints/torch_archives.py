"""Writes and changes files of `torch.save` by hand, with the standard library alone."""

import io
import zipfile
from collections.abc import Callable

import torch


def saved(content: object, *, zipped: bool = True) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=zipped)
    return stream.getvalue()


def members(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        return {info.filename: file.read(info) for info in file.infolist()}


def packed(content: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as file:
        for name, data in content.items():
            file.writestr(name, data)
    return stream.getvalue()


def changed(archive: bytes, change: Callable[[dict[str, bytes]], None]) -> bytes:
    """The archive with its members changed; checksums are right again."""
    content = members(archive)
    change(content)
    return packed(content)


def with_pickle(pickled: bytes, **storages: bytes) -> bytes:
    """An archive with this `data.pkl`."""
    content = {"archive/data.pkl": pickled, "archive/version": b"3\n"}
    return packed(content | {f"archive/data/{key[1:]}": data for key, data in storages.items()})


def text(value: str) -> bytes:
    """BINUNICODE."""
    data = value.encode()
    return b"X" + len(data).to_bytes(4, "little") + data


def tensor(
    *, storage: str = "FloatStorage", key: str = "0", count: int = 6, offset: int = 0,
    size: tuple[int, ...] = (2, 3), stride: tuple[int, ...] = (3, 1),
) -> bytes:  # fmt: skip
    """A pickled tensor with any numbers in it, right or wrong."""

    def whole(value: int) -> bytes:
        data = value.to_bytes(9, "little", signed=True)
        return b"\x8a\x09" + data

    def sizes(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(map(whole, values)) + b"t"

    reference = b"(" + text("storage") + b"ctorch\n" + storage.encode() + b"\n" + text(key) + text("cpu") + whole(count)
    reference += b"tQ"
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + reference + whole(offset) + sizes(size) + sizes(stride) + b"\x89NtR"
    )


def state_dict(value: bytes, name: str = "a.weight") -> bytes:
    """A pickle of {name: value}."""
    return b"\x80\x02}" + text(name) + value + b"s."
