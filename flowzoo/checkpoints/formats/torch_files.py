"""Files of `torch.save`, old and new, read without torch's own reader: nothing that is in them is run or trusted."""

import io
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from flowzoo.checkpoints.formats.checkpoint import Checkpoint
from flowzoo.checkpoints.formats.nested import find_state_dict
from flowzoo.checkpoints.formats.torch_values import KNOWN, Storage, StorageType
from flowzoo.errors import InputError
from flowzoo.files.pickles import CodeError, Foreign, PickleError, read_pickle
from flowzoo.files.reading import DAMAGE, opened, reason, shown

# The pickled magic number with which files older than torch 1.6 begin.
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_ZIP = b"PK\x03\x04"
_LOCAL_HEADER = 30


def is_torch(head: bytes) -> bool:
    """Whether a file that begins like this was written by `torch.save`, or is another zip archive."""
    return head.startswith((_ZIP, _LEGACY))


def read(path: Path, entry: str | None = None) -> Checkpoint:
    """Read a torch file of any age: a state dict, alone or inside a training script's dict.

    Objects of other programs in it (options, paths, a scheduler) are left out and named in the result.

    Args:
        path: the file.
        entry: which of several state dicts, as a path of keys: "model_ema", "callbacks.ema".

    Raises:
        InputError: it is damaged, it asks for code, or there are no tensors, or several sets of them.
    """
    content, foreign = _content(path)
    if isinstance(content, Foreign) and not content:
        raise InputError(
            f"{path} holds an object of class {content.name}, not a state dict: open it with the code it belongs to "
            "and save its state_dict()"
        )
    found = find_state_dict(content, entry, path)
    if not found.tensors:
        raise InputError(f"{path} is a torch file without a state dict in it")
    return Checkpoint(found.tensors, "torch", found.facts, found.entry, found.others, tuple(sorted(foreign)))


def read_values(path: Path) -> Any:
    """All that `torch.save` wrote, if that is made of tensors, plain values and containers of them.

    Raises:
        InputError: it is damaged, or there are other objects in it.
    """
    content, foreign = _content(path)
    if foreign:
        raise InputError(f"{path} holds objects besides tensors and plain values: {shown(', '.join(sorted(foreign)))}")
    return content


def _content(path: Path) -> tuple[Any, set[str]]:
    """What is in the file, and the names of the objects in it that are shells."""
    with opened(path, "a file of weights") as (file, size):
        try:
            return _Zip(file, size, path).load() if file.read(4) == _ZIP else _load_legacy(file, size)
        except InputError:
            raise
        except CodeError as error:
            raise InputError(
                f"{path} holds code besides tensors (it asks for {error}) and is not opened: "
                "get the file from a source you trust, as a plain state dict"
            ) from error
        except (PickleError, zipfile.BadZipFile, *DAMAGE) as error:
            fault = f"{path} is a damaged or truncated torch file"
            raise InputError(f"{fault} ({reason(error)}): fetch it again") from error


class _Zip:
    """The archive that torch has written since version 1.6: a pickle, and a file of bytes for every storage."""

    def __init__(self, file: BinaryIO, size: int, path: Path) -> None:
        self.file, self.size = file, size
        archive = zipfile.ZipFile(file)
        self.members = {member.filename: member for member in archive.infolist()}
        self.folder = self._folder(path)
        if sum(member.file_size for member in self.members.values()) > size:
            raise PickleError("its members are larger than the file")
        self.storages: dict[str, Storage] = {}
        order = self._bytes("byteorder") if f"{self.folder}byteorder" in self.members else b"little"
        self.swapped = order.strip() == b"big"

    def _folder(self, path: Path) -> str:
        names = list(self.members)
        for name in names:
            if name.endswith(("/constants.pkl", "/code/__torch__.py")) or "/code/__torch__" in name:
                raise InputError(
                    f"{path} is a TorchScript program, which is code: open it with torch.jit.load where you trust it, "
                    "and save its state_dict() with torch.save"
                )
        found = [name.removesuffix("data.pkl") for name in names if name.rpartition("/")[2] == "data.pkl"]
        if len(found) == 1:
            return found[0]
        if names and all(name.endswith(".npy") for name in names):
            raise InputError(
                f"{path} is a NumPy archive (.npz), which is not read as weights: save its arrays by name with "
                "torch.save or safetensors"
            )
        shown_names = shown(", ".join(names[:3]) or "nothing", 120)
        raise InputError(f"{path} is a zip archive of other files ({shown_names}), no torch file: unpack it first")

    def load(self) -> tuple[Any, set[str]]:
        content = self._bytes("data.pkl")
        return read_pickle(io.BytesIO(content), len(content), KNOWN, self._storage)

    def _storage(self, identity: Any) -> Any:
        kind, key, count = _storage_identity(identity)
        if key not in self.storages:
            # Untyped storages count bytes, the others numbers.
            numbers = torch.empty(self._checked(f"data/{key}", count, kind), dtype=kind.kind or torch.uint8)
            self._read_into(f"data/{key}", _writable(numbers))
            self.storages[key] = Storage(_in_order(numbers, self.swapped and kind.kind), kind.kind is None)
        return self.storages[key]

    def _checked(self, name: str, count: int, kind: StorageType) -> int:
        member = self._member(name)
        if member.file_size != count * (kind.kind or torch.uint8).itemsize:
            raise PickleError(f"its member {shown(name)} has {member.file_size} bytes")
        return count

    def _member(self, name: str) -> zipfile.ZipInfo:
        if self.folder + name not in self.members:
            raise PickleError(f"its member {shown(name)} is missing")
        member = self.members[self.folder + name]
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
            raise PickleError("it is compressed or encrypted, which torch.save does not do")
        return member

    def _bytes(self, name: str) -> bytes:
        content = bytearray(self._member(name).file_size)
        self._read_into(name, memoryview(content))
        return bytes(content)

    def _read_into(self, name: str, target: memoryview) -> None:
        """The bytes of a member, checked by the archive's checksum (0 in files that were saved without)."""
        member = self._member(name)
        self.file.seek(member.header_offset)
        header = self.file.read(_LOCAL_HEADER)
        if len(header) < _LOCAL_HEADER or header[:4] != _ZIP:
            raise PickleError(f"its member {shown(name)} is damaged")
        name_length, extra_length = struct.unpack("<HH", header[26:30])
        self.file.seek(name_length + extra_length, 1)
        _fill(self.file, target)
        if member.CRC not in (0, zlib.crc32(target)):
            raise PickleError(f"its member {shown(name)} does not have its checksum")


def _load_legacy(file: BinaryIO, size: int) -> tuple[Any, set[str]]:
    """Five pickles (magic number, version, system, content, keys of the storages), and then the storages' bytes."""
    file.seek(len(_LEGACY))
    pending: dict[str, Storage] = {}
    left = size

    def storage(identity: Any) -> Any:
        nonlocal left
        if isinstance(identity, tuple) and identity and identity[0] == "module":
            return identity[1] if len(identity) > 1 else None  # the source of a class was saved beside it
        kind, key, count = _storage_identity(identity)
        if key not in pending:
            left -= count * (kind.kind or torch.uint8).itemsize
            if left < 0:
                raise PickleError("its storages are larger than the file")
            pending[key] = Storage(torch.empty(count, dtype=kind.kind or torch.uint8), kind.kind is None)
        view = identity[5] if len(identity) > 5 else None
        if view is None:
            return pending[key]
        _, start, length = view
        numbers = pending[key].numbers
        if type(start) is not int or type(length) is not int or not 0 <= start <= start + length <= numbers.numel():
            raise PickleError("a part of a storage reaches beyond it")
        return Storage(numbers[start : start + length], kind.kind is None)

    read_pickle(file, size)
    system, _ = read_pickle(file, size)
    content, foreign = read_pickle(file, size, KNOWN, storage)
    keys, _ = read_pickle(file, size)
    if not isinstance(keys, list) or set(map(str, keys)) != set(pending) or len(keys) != len(pending):
        raise PickleError("it does not have the storages that its tensors need")
    swapped = isinstance(system, dict) and system.get("little_endian") is False
    for key in keys:
        numbers = pending[str(key)].numbers
        (count,) = struct.unpack(">q" if swapped else "<q", file.read(8))
        if count != numbers.numel():
            raise PickleError(f"a storage has {count} numbers and not {numbers.numel()}")
        _fill(file, _writable(numbers))
        numbers.copy_(_in_order(numbers, numbers.dtype if swapped else None))
    return content, foreign


def _storage_identity(identity: Any) -> tuple[StorageType, str, int]:
    """Type, key and number of elements of a storage.

    Raises:
        PickleError: it is no storage of plain numbers.
    """
    if not isinstance(identity, tuple) or len(identity) < 5 or identity[0] != "storage":
        raise PickleError("it refers to something that is no storage")
    _, kind, key, _, count = identity[:5]
    if not isinstance(kind, StorageType):
        raise PickleError(f"it holds tensors of an unknown type ({shown(str(kind))})")
    if type(count) is not int or not 0 <= count < 2**48:
        raise PickleError("a storage has an impossible size")
    return kind, str(key), count


def _writable(numbers: Tensor) -> memoryview:
    """The bytes of a one-dimensional tensor."""
    return memoryview(numbers.view(torch.uint8).numpy().data) if numbers.numel() else memoryview(bytearray())


def _fill(file: BinaryIO, target: memoryview) -> None:
    done = 0
    while done < len(target):
        count = file.readinto(target[done:])  # type: ignore[attr-defined]  # every file opened in binary mode has it
        if not count:
            raise PickleError("it ends too early")
        done += count


def _in_order(numbers: Tensor, kind: Any) -> Tensor:
    """The numbers with their bytes reversed where they were written by a machine of the other byte order."""
    if not kind or numbers.numel() == 0:
        return numbers
    width = kind.itemsize // 2 if kind.is_complex else kind.itemsize
    return numbers.view(torch.uint8).reshape(-1, width).flip(1).reshape(-1).view(kind)
