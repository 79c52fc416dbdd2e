"""From a path to named tensors."""

import os
from pathlib import Path

from flowzoo.checkpoints.formats import archive, caffe, native, torch_files
from flowzoo.checkpoints.formats.checkpoint import Checkpoint
from flowzoo.errors import InputError
from flowzoo.files.reading import content_of, opened

_HEAD = 512
_LARGEST = 2**31
"""Bytes of a `.caffemodel`, which Protocol Buffers limit to this."""
_WHAT = "a file of weights"
_STARTS = {
    b"\x89HDF\r\n\x1a\n": "an HDF5 file (Keras, MATLAB), which is not read as weights",
    b"\x93NUMPY": "a single NumPy array (.npy), not a set of named ones",
    b"MATLAB": "a MATLAB file, which is not read as weights",
    b"GGUF": "a GGUF file, which is not read as weights",
    b"TFL3": "a TensorFlow Lite model, which is not read as weights",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"PIEH": "a flow file",
    b"\x7fELF": "a program",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; unpack it and give the file that is in it",
    b"Rar!": "a RAR archive; unpack it and give the file that is in it",
    b"\x28\xb5\x2f\xfd": "packed with zstd; unpack it (zstd -d) and give that",
}


def read_checkpoint(path: str | os.PathLike[str], entry: str | None = None) -> Checkpoint:
    """Read a file of weights: safetensors, torch (zip or legacy), `.caffemodel`, or a tar archive with one in it.

    Args:
        path: the file.
        entry: which of the state dicts in a training script's torch file, as a path of keys ("model_ema"); None: the
            trained weights under their usual name, or what else there is.

    Raises:
        InputError: there is no such file, it is none of these, it is damaged, it asks for code, or has no such entry.
    """
    path = Path(path)
    head = _head(path)
    if torch_files.is_torch(head):
        return torch_files.read(path, entry)
    if entry:
        raise InputError(f"{path} holds one set of weights: there is no entry {entry!r} to choose")
    if native.is_safetensors(head):
        return native.read(path)
    if archive.is_archive(head):
        return caffe.read(archive.only_member(path, ".caffemodel"), path)
    if caffe.is_caffemodel(head):
        return caffe.read(content_of(path, _WHAT, _LARGEST), path)
    raise InputError(f"{path} is no file of weights: {_what_it_is(head)}")


def _head(path: Path) -> bytes:
    try:
        with opened(path, _WHAT) as (file, _):
            return file.read(_HEAD)
    except InputError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise InputError(f"no file of weights at {path}: check the path") from None
        raise


def _what_it_is(head: bytes) -> str:
    start = head.lstrip()[:64].lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")):
        return "it is a web page; download the file itself"
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer; fetch the file it stands for (git lfs pull)"
    if head[:1] == b"\x80":
        return "it is a Python pickle of something else, which is not opened because pickles can run code"
    for magic, name in _STARTS.items():
        if head.startswith(magic):
            return f"it is {name}"
    return "known are safetensors, torch files (.pth, .pt, .ckpt, .pytorch, .pth.tar), .caffemodel and .tar.gz of one"
