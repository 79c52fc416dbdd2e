"""KITTI's 16-bit PNG, to the last bit, against OpenCV and an encoder written from the PNG specification."""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from flowzoo.errors import InputError
from flowzoo.files.flow import read_flow, write_flow
from flowzoo.files.kitti_png import read_rgb16


def paeth(left: int, above: int, corner: int) -> int:
    """PNG specification, section 9.4."""
    guess = left + above - corner
    return min((abs(guess - left), 0, left), (abs(guess - above), 1, above), (abs(guess - corner), 2, corner))[2]


def filtered_rows(values: np.ndarray, filters: Iterator[int]) -> bytes:
    """The rows of HxWx3 uint16, each with its filter byte, byte by byte as section 9.2 defines it."""
    rows = np.ascontiguousarray(values, ">u2").view(np.uint8).reshape(values.shape[0], -1).astype(int)
    packed = bytearray()
    above = [0] * rows.shape[1]
    for row in rows.tolist():
        kind = next(filters)
        packed.append(kind)
        for at, value in enumerate(row):
            left = row[at - 6] if at >= 6 else 0
            corner = above[at - 6] if at >= 6 else 0
            guess = (0, left, above[at], (left + above[at]) // 2, paeth(left, above[at], corner))[kind]
            packed.append((value - guess) % 256)
        above = row
    return bytes(packed)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(values: np.ndarray, filters: list[int], *, interlaced: bool = False, parts: int = 1) -> bytes:
    """A 16-bit RGB PNG of HxWx3 uint16."""
    height, width = values.shape[:2]
    cycle = iter(filters * 10000)
    steps = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    passes = [values[top::down, left::right] for top, left, down, right in steps] if interlaced else [values]
    packed = zlib.compress(b"".join(filtered_rows(part, cycle) for part in passes if part.size))
    size = -(-len(packed) // parts)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, int(interlaced))
    body = b"".join(chunk(b"IDAT", packed[at : at + size]) for at in range(0, len(packed), size))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"tEXt", b"Title\0x") + body + chunk(b"IEND", b"")


@pytest.fixture
def values() -> np.ndarray:
    """Random 16-bit values, with both bytes in use and the extremes."""
    drawn = np.random.default_rng(3).integers(0, 65536, (19, 23, 3)).astype(np.uint16)
    drawn[0, 0], drawn[-1, -1] = 65535, 0
    return drawn


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("filters", [[0], [1], [2], [3], [4], [4, 3, 2, 1, 0]])
def test_every_png_filter(tmp_path: Path, values: np.ndarray, filters: list[int], interlaced: bool) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(values, filters, interlaced=interlaced, parts=3))
    np.testing.assert_array_equal(read_rgb16(path), values)
    np.testing.assert_array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., ::-1], values)


def test_reading_what_opencv_writes(tmp_path: Path, values: np.ndarray) -> None:
    for strategy in range(4):
        cv2.imwrite(str(tmp_path / "a.png"), values[..., ::-1], [cv2.IMWRITE_PNG_STRATEGY, strategy])
        np.testing.assert_array_equal(read_rgb16(tmp_path / "a.png"), values)
        flow, valid = read_flow(tmp_path / "a.png")
        np.testing.assert_array_equal(valid, values[..., 2] > 0)
        np.testing.assert_array_equal(flow[valid], (values[valid][:, :2].astype(np.float64) - 32768) / 64)
        assert (flow[~valid] == 0).all()


def test_opencv_reads_every_value_we_write(tmp_path: Path) -> None:
    steps = np.arange(65536).reshape(256, 256)
    flow = (np.stack([steps, steps[::-1, ::-1]], axis=2) - 32768) / 64
    valid = np.random.default_rng(0).random((256, 256)) > 0.3
    write_flow(tmp_path / "a.png", flow, valid)
    stored = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)[..., ::-1]
    assert stored.dtype == np.uint16
    np.testing.assert_array_equal(stored[..., 2], valid)
    np.testing.assert_array_equal(stored[valid][:, 0], steps[valid])
    np.testing.assert_array_equal(stored[valid][:, 1], steps[::-1, ::-1][valid])
    read, found = read_flow(tmp_path / "a.png")
    np.testing.assert_array_equal(found, valid)
    np.testing.assert_array_equal(read[valid], flow[valid])


def test_our_file_follows_the_png_specification(tmp_path: Path) -> None:
    write_flow(tmp_path / "a.png", np.ones((2, 3, 2)))
    content = (tmp_path / "a.png").read_bytes()
    kinds, at = [], 8
    while at < len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        kind, body = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        assert content[at : at + 12 + length] == chunk(kind, body)
        kinds.append(kind)
        at += 12 + length
    assert kinds == [b"IHDR", b"IDAT", b"IEND"]


def test_rounding_is_to_the_nearest_step(tmp_path: Path) -> None:
    flow = np.random.default_rng(0).uniform(-511, 511, (50, 60, 2)).astype(np.float32)
    write_flow(tmp_path / "a.png", flow)
    error = np.abs(read_flow(tmp_path / "a.png")[0].astype(np.float64) - flow)
    assert error.max() <= 1 / 128


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        *((511.984375, True), (511.99, True), (511.9923, False), (512.0, False), (1e8, False)),
        *((-512.0, True), (-512.007, True), (-512.009, False), (-1e8, False)),
    ],
)
def test_the_range_never_wraps(tmp_path: Path, value: float, fits: bool) -> None:
    flow = np.zeros((2, 3, 2), np.float32)
    flow[1, 2, 0] = value
    path = tmp_path / "a.png"
    if fits:
        write_flow(path, flow)
        assert abs(read_flow(path)[0][1, 2, 0] - value) <= 1 / 128
    else:
        with pytest.raises(InputError, match=r"a\.png.*range.*row 1, column 2"):
            write_flow(path, flow)
        assert not path.exists()
    write_flow(path, flow, clip=True)
    np.testing.assert_allclose(read_flow(path)[0][1, 2, 0], np.clip(value, -512, 511.984375), atol=1 / 128)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_not_a_number_is_refused_unless_invalid(tmp_path: Path, value: float) -> None:
    flow = np.ones((2, 3, 2), np.float32)
    flow[0, 1, 1] = value
    path = tmp_path / "a.png"
    for clip in (False, True):
        with pytest.raises(InputError, match=r"a\.png.*finite.*row 0, column 1"):
            write_flow(path, flow, clip=clip)
    assert not path.exists()
    valid = np.ones((2, 3), bool)
    valid[0, 1] = False
    write_flow(path, flow, valid)
    read, found = read_flow(path)
    np.testing.assert_array_equal(found, valid)
    np.testing.assert_array_equal(read, valid[..., None] * np.ones(2))


def test_pictures_are_told_from_flow(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    for picture, said in (
        (np.zeros((4, 5, 3), np.uint8), "colour picture .*not KITTI flow"),
        (np.zeros((4, 5), np.uint8), "not KITTI flow"),
        (np.zeros((4, 5), np.uint16), "16-bit grey PNG, not KITTI flow"),
        (np.zeros((4, 5, 4), np.uint16), "16-bit RGBA PNG, not KITTI flow"),
    ):
        cv2.imwrite(str(path), picture)
        with pytest.raises(InputError, match=said):
            read_flow(path)


def test_a_png_cut_off_anywhere(tmp_path: Path, values: np.ndarray) -> None:
    content = png(values, [4])
    end_of_pixels = len(content) - 12 - 4 - 4  # what follows: zlib's checksum, the chunk's checksum, IEND
    for length in (*range(0, end_of_pixels, 11), end_of_pixels - 1):
        (tmp_path / "a.png").write_bytes(content[:length])
        with pytest.raises(InputError, match=r"a\.png"):
            read_flow(tmp_path / "a.png")


def test_an_absurd_size_is_refused_before_allocating(tmp_path: Path, values: np.ndarray) -> None:
    content = bytearray(png(values, [4]))
    for width, height in ((2**31 - 1, 2**31 - 1), (0, 5), (5, 0), (60000, 60000)):
        header = b"IHDR" + struct.pack(">II", width, height) + content[24:29]
        content[12:33] = header + struct.pack(">I", zlib.crc32(header))
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(InputError, match="damaged"):
            read_flow(tmp_path / "a.png")


def test_damaged_bytes_are_found_by_the_checksum(tmp_path: Path, values: np.ndarray) -> None:
    content = bytearray(png(values, [1]))
    content[len(content) // 2] ^= 1
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(InputError, match="damaged PNG"):
        read_flow(tmp_path / "a.png")


def test_real_files_come_back(tmp_path: Path, shared: Path) -> None:
    folder = shared / "data" / "KITTI"
    files = [*folder.glob("201*/training/flow_*/*.png"), *folder.glob("*/*LK/*.png"), *folder.glob("devkit-demo/flow*")]
    assert len(files) >= 5
    for path in files:
        stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., ::-1]
        flow, valid = read_flow(path)
        np.testing.assert_array_equal(valid, stored[..., 2] > 0)
        np.testing.assert_array_equal(flow[valid] * 64 + 32768, stored[valid][:, :2])
        write_flow(tmp_path / "a.png", flow, valid)
        written = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)[..., ::-1]
        np.testing.assert_array_equal(written[valid], stored[valid])
        np.testing.assert_array_equal(written[..., 2], stored[..., 2])
