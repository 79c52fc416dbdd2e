"""Images are data: no program is started, no other format tried, nothing written to the screen, nothing huge made."""

import io
import os
import struct
import subprocess
import sys
import threading
import tracemalloc
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from flowzoo.datasets.masks import read_raw
from flowzoo.errors import InputError
from flowzoo.files.images import image_size, read_image
from flowzoo.files.reading import quiet
from flowzoo.files.tiff_header import tiff_values

PICTURE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)


def refused(path: Path, said: str) -> None:
    for reader in (read_image, image_size, read_raw):
        with pytest.raises(InputError, match=said) as caught:
            reader(path)
        message = str(caught.value)
        assert str(path) in message
        assert "\n" not in message
        assert len(message) < 500


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.mark.parametrize("name", ["a.png", "a.eps", "a.jpg", "a.tga"])
@pytest.mark.parametrize("binary", [False, True])
def test_postscript_starts_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, binary: bool) -> None:
    """A `gs` that leaves a trace stands first on the search path."""
    program = tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/trace\necho 10.0\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    header = b"\xc5\xd0\xd3\xc6" + struct.pack("<II", 30, len(POSTSCRIPT)) + bytes(18) if binary else b""
    (tmp_path / name).write_bytes(header + POSTSCRIPT)
    refused(tmp_path / name, "is a PostScript file, which is not read as an image: convert it to PNG")
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"BLP2" + bytes(200), "BLP texture"),
        (b"DDS " + struct.pack("<I", 124) + bytes(200), "DDS texture"),
        (b"%PDF-1.7\n", "PDF"),
        (b"8BPS\0\1" + bytes(30), "Photoshop"),
        (b"v/1\x01" + bytes(30), "OpenEXR"),
        (b"\0\0\0\x18ftypheic" + bytes(30), "HEIC"),
        (b"\xff\x0a" + bytes(30), "JPEG XL"),
        (b"PF\n3 3\n-1.0\n" + bytes(108), "PFM"),
        (b"\0\0\1\0\1\0" + bytes(60), "no image that can be read: it starts with"),
        (b"\x80\x02}", "no image that can be read"),
        (b"/* XPM */", "no image that can be read"),
    ],
)
def test_other_formats_are_told_by_name_and_not_tried(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.png").write_bytes(content)
    refused(tmp_path / "a.png", said)


@pytest.mark.parametrize("suffix", ["gif", "jp2", "avif", "tga", "dib", "mpo"])
def test_formats_beyond_the_usual_are_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    y, x = np.mgrid[:24, :32]
    smooth = np.stack([x * 7, y * 9, 255 - x * 4], axis=2).astype(np.uint8)
    Image.fromarray(smooth).save(path)
    found = read_image(path)
    assert found.shape == smooth.shape
    assert np.abs(found.astype(int) - smooth).mean() < 12
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"a\."):
        read_image(path)


def test_targa_is_told_by_its_suffix_alone(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(PICTURE).save(stream, "TGA")
    (tmp_path / "a.png").write_bytes(stream.getvalue())
    refused(tmp_path / "a.png", "no image that can be read")
    (tmp_path / "b.tga").write_bytes(stream.getvalue())
    np.testing.assert_array_equal(read_image(tmp_path / "b.tga"), PICTURE)
    cv2.imwrite(str(tmp_path / "c.png"), PICTURE)
    (tmp_path / "c.png").rename(tmp_path / "c.tga")
    np.testing.assert_array_equal(read_image(tmp_path / "c.tga"), PICTURE[..., ::-1])


def png(width: int, height: int, rows: bytes, depth: int = 8, colour: int = 2) -> bytes:
    content = b"\x89PNG\r\n\x1a\n"
    for kind, data in (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)),
        (b"IDAT", rows),
        (b"IEND", b""),
    ):
        content += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return content


def test_sizes_that_a_file_cannot_hold(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    for width, height, said in (
        (5000, 5000, "bytes cannot hold a picture of 5000x5000 pixels"),
        (20_000, 20_000, "too large"),
        (12_000, 12_000, "too large: it has 12000x12000 pixels"),
    ):
        path.write_bytes(png(width, height, zlib.compress(bytes(1000))))
        tracemalloc.start()
        try:
            refused(path, said)
            assert tracemalloc.get_traced_memory()[1] < 10e6
        finally:
            tracemalloc.stop()


def test_the_densest_honest_files_are_read(tmp_path: Path) -> None:
    """A black mask of 8000x5000 pixels, one bit each, and a black frame."""
    path = tmp_path / "a.png"
    path.write_bytes(png(8000, 5000, zlib.compress(bytes(5000 * 1001), 9), depth=1, colour=0))
    assert read_raw(path).shape == (5000, 8000)
    path.write_bytes(png(6000, 5000, zlib.compress(bytes(5000 * 18001), 9)))
    assert image_size(path) == (5000, 6000)


NOISY = """
import sys
from flowzoo.files.images import read_image
from flowzoo.errors import InputError
for name in sys.argv[1:]:
    try:
        read_image(name)
    except InputError as error:
        print(error)
"""


def noisy_files(folder: Path) -> list[str]:
    """Files for which Pillow, its log, and libtiff have something to say."""
    Image.fromarray(PICTURE).save(folder / "exif.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0" + b"\x12\1" * 9)
    palette = Image.fromarray(PICTURE[..., 0] % 4, "P")
    palette.putpalette(list(range(12)))
    palette.save(folder / "palette.png", transparency=bytes([0, 128, 255, 9]))
    stream = io.BytesIO()
    Image.fromarray(PICTURE).save(stream, "TIFF", compression="tiff_lzw")
    content = stream.getvalue()
    (folder / "cut.tif").write_bytes(content[: len(content) // 2])
    for place in range(8, 300, 23):
        (folder / f"bits{place}.tif").write_bytes(
            content[:place] + bytes([content[place] ^ 0x41]) + content[place + 1 :]
        )
        (folder / f"tail{place}.tif").write_bytes(
            content[:-place] + bytes([content[-place] ^ 0x41]) + content[len(content) - place + 1 :]
        )
    return [str(path) for path in sorted(folder.iterdir())]


def test_nothing_but_our_line_reaches_the_screen(tmp_path: Path) -> None:
    files = noisy_files(tmp_path)
    words = [sys.executable, "-W", "always", "-c", NOISY, *files]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) > 5


def test_silence_ends_with_the_last_decoder_in_any_order() -> None:
    filters = list(warnings.filters)
    first, second = threading.Event(), threading.Event()

    def other() -> None:
        with quiet():
            first.set()
            second.wait(10)

    thread = threading.Thread(target=other)
    with quiet():
        thread.start()
        first.wait(10)
    with quiet():
        pass
    assert warnings.filters != filters  # the other thread still decodes
    second.set()
    thread.join()
    assert list(warnings.filters) == filters


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("kind", "words"), [("<f4", "floating-point"), ("<f8", "floating-point"), ("<i4", "signed|32-bit")]
)
def test_tiff_files_with_other_numbers_say_which(tmp_path: Path, channels: int, kind: str, words: str) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(np.ones((3, 4, channels), kind)))
    with pytest.raises(InputError, match=rf"a\.tif holds ({words}).* values.*: save it with 8 or 16 bits"):
        read_image(path)


def tiff(array: np.ndarray, order: str = "<", big: bool = False) -> bytes:
    """A TIFF of one strip with any kind of numbers."""
    height, width, channels = array.shape
    bits, form = array.itemsize * 8, {"u": 1, "i": 2, "f": 3}[array.dtype.kind]
    data = np.ascontiguousarray(array).tobytes()
    letter, entry = ("Q", order + "HHQ") if big else ("I", order + "HHI")
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42)
    head += struct.pack(order + "HHQ", 8, 0, 16) if big else struct.pack(order + "I", 8)
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, 2 if channels > 2 else 1), (273, 0)]
    tags += [(277, channels), (278, height), (279, len(data)), (339, form)]
    size = struct.calcsize(entry) + struct.calcsize(letter)
    start = len(head) + struct.calcsize("Q" if big else "H") + size * len(tags) + struct.calcsize(letter)
    content = head + struct.pack(order + ("Q" if big else "H"), len(tags))
    for tag, value in tags:
        count = channels if tag in (258, 339) else 1
        value = start if tag == 273 else value
        if tag not in (258, 339):
            content += struct.pack(entry, tag, 4, count)
            content += struct.pack(order + "I", value).ljust(struct.calcsize(letter), b"\0")
            continue
        packed = struct.pack(order + f"{count}H", *[value] * count)
        if len(packed) <= struct.calcsize(letter):
            content += struct.pack(entry, tag, 3, count) + packed.ljust(struct.calcsize(letter), b"\0")
        else:
            place = start + len(data) + (0 if tag == 258 else 2 * channels)
            content += struct.pack(entry, tag, 3, count) + struct.pack(order + letter, place)
    content += struct.pack(order + letter, 0) + data
    return (
        content
        + struct.pack(order + f"{channels}H", *[bits] * channels)
        + struct.pack(order + f"{channels}H", *[form] * channels)
    )


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_headers_of_tiff_files_of_every_order(order: str, big: bool) -> None:
    content = tiff(np.ones((3, 4, 3), order + "f8"), order, big)
    assert tiff_values(io.BytesIO(content)) == "floating-point values (64 bits, 3 channels)"
    assert tiff_values(io.BytesIO(b"not a tiff at all")) == ""


def test_pipes_and_devices(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    refused(tmp_path / "a.png", "not an ordinary file")
    refused(Path("/dev/zero"), "not an ordinary file")
