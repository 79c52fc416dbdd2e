"""Format by depth by channels by plugin: what comes out is what was stored."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

import flowzoo
from flowzoo.errors import InputError
from flowzoo.files.deep_headers import avif_bits, jpeg2000_bits
from flowzoo.files.images import image_depth, read_every_bit, read_image, read_picture
from flowzoo.files.kitti_png import write_rgb16
from flowzoo.files.stored import read_stored
from flowzoo.inference.sources import told_depth

FULL = {np.uint8: 255, np.uint16: 65535}


def pixels(depth, channels):
    shape = (21, 34) if channels == 1 else (21, 34, channels)
    values = np.random.default_rng(channels).integers(0, FULL[depth] + 1, shape, dtype=depth)
    values[0, 0], values[0, 1] = FULL[depth], 255
    return values


def by_pillow(path, values):
    Image.fromarray(values).save(path, **({"lossless": True, "exact": True} if path.suffix == ".webp" else {}))


def by_opencv(path, values):
    order = {1: slice(None), 3: [2, 1, 0], 4: [2, 1, 0, 3]}[1 if values.ndim == 2 else values.shape[2]]
    ordered = values if values.ndim == 2 else np.ascontiguousarray(values[..., order])
    assert cv2.imwrite(str(path), ordered, [cv2.IMWRITE_TIFF_COMPRESSION, 1] if path.suffix == ".tif" else [])


def by_tifffile(path, values):
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(path, values, photometric="minisblack" if values.ndim == 2 else "rgb", compression="zlib")


def by_hand(path, values):
    with path.open("wb") as file:
        write_rgb16(file, values)


@pytest.mark.parametrize(
    ("suffix", "depth", "channels", "writer"),
    [
        *((suffix, np.uint8, 1, by_pillow) for suffix in (".png", ".tif", ".bmp", ".pgm", ".gif")),
        *((suffix, np.uint8, 3, by_pillow) for suffix in (".png", ".tif", ".bmp", ".ppm", ".webp", ".tga")),
        *((suffix, np.uint8, 4, by_pillow) for suffix in (".png", ".tif", ".webp")),
        (".png", np.uint8, 2, by_pillow),
        *((suffix, np.uint16, 1, by_opencv) for suffix in (".png", ".tif", ".pgm")),
        (".png", np.uint16, 3, by_opencv),
        (".png", np.uint16, 3, by_hand),
        (".tif", np.uint16, 3, by_opencv),
        (".tif", np.uint16, 1, by_tifffile),
        (".tif", np.uint16, 3, by_tifffile),
        (".tif", np.uint8, 3, by_tifffile),
    ],
)
def test_what_was_stored_comes_back(tmp_path, suffix, depth, channels, writer):
    if (suffix, depth, channels) == (".tif", np.uint16, 3):
        pytest.importorskip("tifffile")
    values = pixels(depth, channels)
    path = tmp_path / f"a{suffix}"
    writer(path, values)
    found = read_stored(path)
    if suffix == ".gif" and found.ndim == 3:
        found = found[..., 0]
    assert found.dtype == depth
    np.testing.assert_array_equal(found, values)
    assert image_depth(path) == 8 * np.dtype(depth).itemsize
    eight = read_image(path)
    assert eight.dtype == np.uint8
    upper = values if depth == np.uint8 else (values >> 8).astype(np.uint8)
    grey = channels < 3
    expected = (upper if channels == 1 else upper[..., 0])[..., None].repeat(3, axis=2) if grey else upper[..., :3]
    np.testing.assert_array_equal(eight, expected)
    all_bits = (values if channels == 1 else values[..., 0])[..., None].repeat(3, axis=2) if grey else values[..., :3]
    np.testing.assert_array_equal(read_picture(path), all_bits)
    assert read_picture(path).dtype == depth


def deep_png(kind, channels):
    rows = b"".join(b"\0" + bytes(range(2 * channels * 3)) for _ in range(2))
    content = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", 3, 2, 16, kind, 0, 0, 0)
    for name, data in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        content += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return content


@pytest.mark.parametrize(("kind", "channels"), [(4, 2), (6, 4)])
def test_16_bits_beside_alpha_are_read_exactly(tmp_path, kind, channels):
    (tmp_path / "a.png").write_bytes(deep_png(kind, channels))
    assert image_depth(tmp_path / "a.png") == 16
    row = np.frombuffer(bytes(range(2 * channels * 3)), ">u2").reshape(1, 3, channels)
    found = read_stored(tmp_path / "a.png")
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, np.concatenate([row, row]))
    colours = row[..., :3] if channels == 4 else row[..., :1].repeat(3, axis=2)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), np.concatenate([colours, colours]))


@pytest.mark.parametrize("header", [b"P6 # deep\n2 1\n65535\n", b"P6\n#a\n# b\n2\t1 65535 "])
def test_deep_colour_ppm_is_read_exactly(tmp_path, header):
    (tmp_path / "a.ppm").write_bytes(header + bytes(range(12)))
    assert image_depth(tmp_path / "a.ppm") == 16
    expected = np.frombuffer(bytes(range(12)), ">u2").reshape(1, 2, 3)
    for read in (read_stored, read_picture):
        np.testing.assert_array_equal(read(tmp_path / "a.ppm"), expected)
    (tmp_path / "a.ppm").write_bytes(header + bytes(range(11)))
    with pytest.raises(InputError, match=r"a\.ppm is a truncated"):
        read_stored(tmp_path / "a.ppm")


@pytest.mark.parametrize("content", [b"P6\n2 1\n4095\n" + bytes(range(12)), b"P3\n1 1\n65535\n1 2 65535\n"])
def test_16_bits_that_cannot_be_read_exactly_are_refused_and_not_rounded(tmp_path, content):
    (tmp_path / "a.ppm").write_bytes(content)
    assert image_depth(tmp_path / "a.ppm") == 16
    for read in (read_stored, read_picture):
        with pytest.raises(InputError, match="cannot be read exactly"):
            read(tmp_path / "a.ppm")


def test_heic_is_read_where_its_package_is(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    values = pixels(np.uint8, 3)
    heif.from_bytes("RGB", (34, 21), values.tobytes()).save(
        tmp_path / "a.heic", quality=-1, chroma=444, matrix_coefficients=0
    )
    np.testing.assert_array_equal(read_image(tmp_path / "a.heic"), values)
    (tmp_path / "b.heic").write_bytes((tmp_path / "a.heic").read_bytes()[:200])
    with pytest.raises(InputError, match=r"b\.heic"):
        read_image(tmp_path / "b.heic")


@pytest.mark.parametrize("order", "<>")
def test_grey_of_12_bits_has_the_brightness_of_16(tmp_path, order):
    """TIFF 6.0 packs two values of 12 bits into three bytes. Pillow reads them in files of little-endian numbers."""
    path, values = tmp_path / "x-ray.tif", np.array([[0, 4095, 2048], [1, 4094, 1000]])
    tags = (256, 4, 3), (257, 4, 2), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 8), (278, 4, 2), (279, 4, 10)
    rows = bytearray()
    for row in values:
        bits = "".join(f"{value:012b}" for value in row) + "0000"  # a row ends with a whole byte
        rows += int(bits, 2).to_bytes(5, "big")
    entries = b"".join(
        struct.pack(order + "HHI", tag, kind, 1) + struct.pack(order + ("H2x" if kind == 3 else "I"), value)
        for tag, kind, value in tags
    )
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8 + len(rows))
    path.write_bytes(head + rows + struct.pack(order + "H", len(tags)) + entries + bytes(4))
    if order == ">":
        with pytest.raises(InputError, match=r"x-ray\.tif holds unsigned values \(12 bits, 1 channel\)"):
            read_stored(path)
        return
    found = read_stored(path)
    assert found.dtype == np.uint16
    assert abs(found - values * (65535 / 4095)).max() < 1
    assert image_depth(path) == 16
    assert np.array_equal(read_image(path)[..., 0], values >> 4)


def test_a_truncated_deep_tiff_is_one_line(tmp_path):
    pytest.importorskip("tifffile")
    by_tifffile(tmp_path / "a.tif", pixels(np.uint16, 3))
    content = (tmp_path / "a.tif").read_bytes()
    for cut in (len(content) // 2, len(content) - 5):
        (tmp_path / "b.tif").write_bytes(content[:cut])
        with pytest.raises(InputError) as caught:
            read_stored(tmp_path / "b.tif")
        assert "\n" not in str(caught.value)


def test_a_network_is_given_all_16_bits(tmp_path):
    from flowzoo.inference.estimator import Estimator
    from flowzoo.inference.sources import open_source

    values = pixels(np.uint16, 3)
    by_opencv(tmp_path / "a.png", values)
    by_pillow(tmp_path / "b.png", pixels(np.uint8, 3))
    source = open_source(str(tmp_path / "a.png"), str(tmp_path / "b.png"))
    assert source.notes == []
    (pair,) = source.pairs()
    np.testing.assert_array_equal(pair.first, values)
    given = []

    class Seen(Estimator):
        def predict(self, first, second, start=None):
            given.extend([first, second])
            return super().predict(first, second, start)

    Seen(flowzoo.create("spynet"))(pair.first, pair.second)
    first, second = (images[0].permute(1, 2, 0).numpy() for images in given)
    np.testing.assert_array_equal(np.rint(first.astype(np.float64) * 65535), values)
    np.testing.assert_array_equal(second, pair.second.astype(np.float32) / 255)


@pytest.mark.parametrize(("suffix", "channels"), [(".jp2", 1), (".jp2", 3), (".j2k", 3)])
def test_jpeg_2000_says_its_depth_and_colours_of_16_bits_are_refused(tmp_path, suffix, channels):
    values, path = np.resize(pixels(np.uint16, channels), (48, 64, channels)), tmp_path / f"a{suffix}"
    lossless = [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000]
    assert cv2.imwrite(str(tmp_path / "whole.jp2"), values[..., ::-1], lossless)
    content = (tmp_path / "whole.jp2").read_bytes()
    path.write_bytes(content if suffix == ".jp2" else content[content.index(b"\xff\x4f\xff\x51") :])
    assert image_depth(path) == 16
    if channels == 1:
        np.testing.assert_array_equal(read_picture(path)[..., :1], values)
        return
    with pytest.raises(InputError, match="16-bit JPEG2000 of this kind cannot be read exactly"):
        read_picture(path)
    with pytest.raises(InputError, match="more than 8 bits a colour cannot be read"):
        read_image(path)
    assert cv2.imwrite(str(tmp_path / "b.jp2"), values.astype(np.uint8))
    assert image_depth(tmp_path / "b.jp2") == 8


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (b"\x0c\0\0\0jP  ", ValueError),
        (struct.pack(">I4sQ", 1, b"free", 24) + 8 * b"\0" + struct.pack(">I4s", 0, b"jp2c"), 12),
    ],
)
def test_where_a_jpeg_2000_codestream_begins(start, said):
    stream = b"\xff\x4f\xff\x51" + struct.pack(">HH8IH", 44, 0, *range(8), 2) + bytes([7, 1, 1, 11, 1, 1])
    file = io.BytesIO(start + stream)
    if said is ValueError:
        with pytest.raises((ValueError, struct.error)):
            jpeg2000_bits(file)
    else:
        assert jpeg2000_bits(file) == said


@pytest.mark.parametrize(("flags", "bits"), [(0x0C, 8), (0x4C, 10), (0x6C, 12)])
def test_avif_says_its_depth(tmp_path, flags, bits):
    Image.fromarray(pixels(np.uint8, 3)).save(tmp_path / "a.avif")
    assert image_depth(tmp_path / "a.avif") == 8
    content = (tmp_path / "a.avif").read_bytes()
    place = content.index(b"av1C") + 6
    assert avif_bits(io.BytesIO(content[:place] + bytes([flags]) + content[place + 1 :])) == bits


def test_what_is_rounded_from_10_bits_is_told_and_is_no_sample(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    for name, kind, depth in (("a", "RGB", np.uint8), ("b", "RGB;16", np.uint16)):
        heif.from_bytes(kind, (34, 21), pixels(depth, 3).tobytes()).save(tmp_path / f"{name}.heic", quality=-1)
    shallow, deep = tmp_path / "a.heic", tmp_path / "b.heic"
    assert told_depth([shallow, deep]) == ["b.heic holds 10 bits a channel: networks take the upper 8 of them"]
    assert read_every_bit(shallow).dtype == np.uint8
    with pytest.raises(InputError, match=r"b\.heic holds 10 bits a channel, of which only 8 can be read"):
        read_every_bit(deep)
