"""From a path to named tensors."""

import os
from pathlib import Path

from flowzoo.checkpoints.formats import archive, caffe, native, torch_files
from flowzoo.checkpoints.formats.checkpoint import Checkpoint
from flowzoo.errors import InputError

_HEAD = 512


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a file of weights: safetensors, torch (zip or legacy), `.caffemodel`, or a tar archive with one in it.

    Raises:
        InputError: there is no such file, it is none of these, it is damaged, or it holds code.
    """
    path = Path(path)
    head = _head(path)
    if native.is_safetensors(head):
        return native.read(path)
    if torch_files.is_torch(head):
        return torch_files.read(path)
    if archive.is_archive(head):
        return caffe.read(archive.only_member(path, ".caffemodel"), path)
    if caffe.is_caffemodel(head):
        return caffe.read(_content(path), path)
    raise InputError(f"{path} is no file of weights: {_what_it_is(head)}")


def _head(path: Path) -> bytes:
    if path.is_dir():
        raise InputError(f"{path} is a folder: give a file of weights")
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except FileNotFoundError:
        raise InputError(f"no file of weights at {path}") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    if not head:
        raise InputError(f"{path} is empty: fetch it again")
    return head


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error


def _what_it_is(head: bytes) -> str:
    start = head.lstrip()[:64].lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page; download the file itself"
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer; fetch the file it stands for (git lfs pull)"
    if head[:1] == b"\x80":
        return "it is a Python pickle of something else, which is not opened because pickles can run code"
    return "known are safetensors, torch files (.pth, .pt, .ckpt, .pytorch, .pth.tar), .caffemodel and .tar.gz of one"
