"""Archives and Caffe's files that claim more than they have, or take for ever to read; and formats told by name."""

import bz2
import gzip
import io
import lzma
import os
import tarfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import published_files as published
import pytest
import torch
import torch_archives as archives
from safetensors.torch import save_file

from flowzoo.checkpoints.formats import archive, read_checkpoint
from flowzoo.errors import InputError

CAFFE = published.caffemodel([published.layer("c", "Convolution", [published.blob(np.arange(6, dtype="f4"))])])


def refused(path: Path, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert len(message) < 500


def sparse_tar(size: int) -> bytes:
    """A GNU tar with one file that is a hole, in the old format: its header alone says how long it is."""
    info = tarfile.TarInfo("net.caffemodel")
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[156:157] = b"S"
    header[124:136] = b"%011o\0" % 0
    header[386:410] = b"%011o\0%011o\0" % (size, 0)
    header[483:495] = b"%011o\0" % size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + bytes(1024)


def test_a_file_of_holes_is_not_filled(tmp_path: Path) -> None:
    path = tmp_path / "net.tar.gz"
    path.write_bytes(gzip.compress(sparse_tar(2**31)))
    assert path.stat().st_size < 300
    tracemalloc.start()
    try:
        refused(path, "stored with holes")
        assert tracemalloc.get_traced_memory()[1] < 30e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress], ids=["gz", "bz2", "xz"])
@pytest.mark.parametrize("name", ["net.caffemodel", "other"])
def test_what_unpacks_to_far_more_than_its_size_is_a_trap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, pack: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr(archive, "_ALWAYS_FINE", 2**20)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = 2**23
        tar.addfile(info, io.BytesIO(bytes(2**23)))
    path = tmp_path / "net.tar.gz"
    path.write_bytes(pack(stream.getvalue()))
    refused(path, "more than 20 times its size")


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_every_packing_of_a_tar_archive(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "net"
    with tarfile.open(path, mode) as tar:
        for name, content in (("readme", b"x" * 5000), ("deep/net.caffemodel", CAFFE)):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    assert read_checkpoint(path).tensors["c/0"].tolist() == [0, 1, 2, 3, 4, 5]


def tar_with(header: dict[int, bytes]) -> bytes:
    """A tar archive of one file whose header has other bytes, with a right checksum."""
    block = bytearray(tarfile.TarInfo("net.caffemodel").tobuf())
    for place, content in header.items():
        block[place : place + len(content)] = content
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + bytes(2048)


@pytest.mark.parametrize(
    "header",
    [
        {124: b"77777777777\0"},
        {124: b"\x80" + bytes(3) + b"\xff" * 8},
        {124: b"\xff" * 12},
        {156: b"x", 124: b"00000001000\0"},
        {156: b"L", 124: b"77777777777\0"},
        {156: b"1"},
        {156: b"5"},
        {0: b"\xff\xfe\xfd" * 20},
    ],
)
def test_headers_of_tar_archives_that_lie(tmp_path: Path, header: dict[int, bytes]) -> None:
    path = tmp_path / "net.tar"
    path.write_bytes(tar_with(header))
    refused(path, "damaged or truncated archive|must hold exactly one")


def unpacked_and_other_fields(count: int) -> bytes:
    """A blob whose numbers come one by one, each behind a field of another kind."""
    item = published.varint(5 << 3 | 5) + bytes(4) + published.number_field(9, 1)
    shape = published.field(7, published.field(1, published.varint(count)))
    return published.caffemodel([published.layer("c", "Convolution", [shape + item * count])])


def test_time_is_linear_in_the_size_of_a_caffemodel(tmp_path: Path) -> None:
    path = tmp_path / "a.caffemodel"
    times = []
    for count in (20_000, 160_000):
        path.write_bytes(unpacked_and_other_fields(count))
        start = time.process_time()
        assert read_checkpoint(path).tensors["c/0"].numel() == count
        times.append(time.process_time() - start)
    assert times[1] < 25 * times[0]  # it is 8 times the work; in quadratic time, 64


@pytest.mark.parametrize(
    ("blob", "said"),
    [
        (published.field(7, published.field(1, published.varint(2**62) * 100_000)), "100000 axes"),
        (published.field(7, published.field(1, published.varint(2**62))), "with 0 numbers"),
        (published.field(5, bytes(7)), "ends inside one"),
    ],
)
def test_shapes_that_lie(tmp_path: Path, blob: bytes, said: str) -> None:
    path = tmp_path / "a.caffemodel"
    path.write_bytes(published.caffemodel([published.layer("c", "Convolution", [blob])]))
    refused(path, said)


def test_a_million_empty_arrays_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.caffemodel"
    blob = published.field(7, published.field(1, b"\x00"))  # of shape (0,)
    path.write_bytes(published.caffemodel([published.layer("c", "Convolution", [blob] * 100_000)]))
    refused(path, "more than 20000 arrays")


TORCH = archives.saved({"a": torch.ones(3)})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip.compress(TORCH), r"packed with gzip and no tar archive: unpack it \(gzip -d\)"),
        (bz2.compress(TORCH), "packed with bzip2"),
        (lzma.compress(TORCH), "packed with xz"),
        (b"\x28\xb5\x2f\xfd" + TORCH, "zstd -d"),
        (b"\x89HDF\r\n\x1a\n" + bytes(50), "HDF5"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(50), "7z archive"),
        (b"GGUF" + bytes(50), "GGUF"),
        (b"<html><body>log in", "web page"),
    ],
)
def test_formats_that_are_something_else(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(content)
    refused(path, said)


@pytest.mark.parametrize("header", ['{"__metadata__":{"flowzoo":%s}}', '{"a":%s}'])
def test_safetensors_with_deep_headers(tmp_path: Path, header: str) -> None:
    deep = "[" * 50_000 + "]" * 50_000
    text = (header % (f'"{deep}"' if "flowzoo" in header else deep)).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    refused(path, "damaged safetensors")


def test_settings_of_our_own_files_are_data_too(tmp_path: Path) -> None:
    """They name no network of another size than the tensors fill, and no other kind of error."""
    from flowzoo.checkpoints import load_weights

    path = tmp_path / "a.safetensors"
    for settings in ('["context"]', '{"context": 7}', '{"no such": 1}', '{"context": {"a": []}}', '{"levels": 1e400}'):
        facts = '{"model": "pwcnet", "settings": ' + settings + "}"
        save_file({"a": torch.ones(1)}, path, {"flowzoo": facts})
        with pytest.raises(InputError) as caught:
            load_weights("pwcnet", path)
        assert len(str(caught.value)) < 500


def test_pipes_and_devices_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pth")
    for path in (tmp_path / "pipe.pth", Path("/dev/zero"), Path("/dev/stdin")):
        if path.exists() and not path.is_file():
            refused(path, "not an ordinary file")
