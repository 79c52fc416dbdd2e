"""Images of every kind against OpenCV and hand-made files."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from flowzoo.errors import InputError
from flowzoo.files.images import image_size, list_images, read_image, write_image


@pytest.fixture
def picture() -> np.ndarray:
    """31x45 uint8 RGB: gradients that differ per channel."""
    y, x = np.mgrid[:31, :45]
    return np.stack([x * 5, y * 8, 255 - x * 2 - y * 3], axis=2).astype(np.uint8)


@pytest.mark.parametrize("suffix", ["png", "ppm", "bmp", "tif", "tiff", "PNG"])
def test_lossless_formats_and_opencv_both_ways(tmp_path: Path, picture: np.ndarray, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    write_image(path, picture)
    np.testing.assert_array_equal(cv2.imread(str(path))[..., ::-1], picture)
    cv2.imwrite(str(path), picture[..., ::-1])
    read = read_image(path)
    assert read.dtype == np.uint8
    assert read.flags.writeable
    np.testing.assert_array_equal(read, picture)
    assert image_size(path) == (31, 45)


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "webp"])
def test_lossy_formats(tmp_path: Path, picture: np.ndarray, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    write_image(path, picture)
    read = read_image(path)
    np.testing.assert_array_equal(read.shape, picture.shape)
    assert np.abs(read.astype(int) - picture).mean() < 3
    coarse = tmp_path / f"b.{suffix}"
    write_image(coarse, picture, quality=10)
    assert coarse.stat().st_size < path.stat().st_size


def test_jpeg_keeps_the_resolution_of_colours(tmp_path: Path) -> None:
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2, 0] = 255
    stripes[:, 1::2, 2] = 255
    write_image(tmp_path / "a.jpg", stripes, quality=100)
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - stripes).max() < 20


@pytest.mark.parametrize("suffix", ["png", "pgm", "jpg", "tif", "bmp"])
def test_grey_becomes_three_equal_channels(tmp_path: Path, picture: np.ndarray, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    write_image(path, picture[..., 0])
    assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED).ndim == 2
    read = read_image(path)
    assert read.shape == (31, 45, 3)
    assert (read == read[..., :1]).all()
    assert np.abs(read[..., 0].astype(int) - picture[..., 0]).max() <= (4 if suffix == "jpg" else 0)


@pytest.mark.parametrize("suffix", ["png", "tif", "ppm"])
@pytest.mark.parametrize("channels", [1, 3])
def test_of_16_bits_the_upper_8_are_kept(tmp_path: Path, suffix: str, channels: int) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (9, 7, channels)).astype(np.uint16)
    deep[0, 0], deep[0, 1] = 65535, 255
    path = tmp_path / f"a.{suffix}"
    if (suffix, channels) == ("ppm", 1):
        path = path.with_suffix(".pgm")
    cv2.imwrite(str(path), deep[..., ::-1] if channels == 3 else deep[..., 0])
    np.testing.assert_allclose(
        read_image(path).astype(int), np.broadcast_to(deep >> 8, (9, 7, 3)), atol=suffix == "ppm"
    )


def test_alpha_is_dropped_and_not_composited(tmp_path: Path, picture: np.ndarray) -> None:
    alpha = np.zeros((31, 45, 1), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), np.concatenate([picture[..., ::-1], alpha], axis=2))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), picture)
    Image.fromarray(np.concatenate([picture[..., :1], alpha], axis=2)).save(tmp_path / "b.png")
    np.testing.assert_array_equal(read_image(tmp_path / "b.png"), np.repeat(picture[..., :1], 3, axis=2))


@pytest.mark.parametrize("transparent", [None, 1, bytes([0, 128, 255])])
def test_palettes(tmp_path: Path, transparent: int | bytes | None, recwarn: pytest.WarningsRecorder) -> None:
    image = Image.fromarray(np.array([[0, 1, 2], [2, 1, 0]], np.uint8), "P")
    image.putpalette([255, 0, 0, 10, 20, 30, 0, 0, 255])
    image.save(tmp_path / "a.png", **({} if transparent is None else {"transparency": transparent}))
    colours = [[255, 0, 0], [10, 20, 30], [0, 0, 255]]
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), [colours, colours[::-1]])
    assert not [warning for warning in recwarn if "alette" in str(warning.message)]


def test_one_bit_and_cmyk(tmp_path: Path) -> None:
    Image.fromarray(np.array([[True, False, True]])).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[0, :, 1], [255, 0, 255])
    Image.fromarray(np.array([[[0, 0, 0, 0], [255, 0, 0, 0], [0, 0, 0, 255]]], np.uint8), "CMYK").save(
        tmp_path / "a.tif"
    )
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[0], [[255, 255, 255], [0, 255, 255], [0, 0, 0]])


def test_pixels_stay_where_the_file_has_them_whatever_exif_says(tmp_path: Path, picture: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees for showing
    Image.fromarray(picture).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), picture)
    assert image_size(tmp_path / "a.png") == (31, 45)


@pytest.mark.parametrize("kind", ["I", "F"])
def test_values_beyond_16_bits_are_refused(tmp_path: Path, kind: str) -> None:
    Image.fromarray(np.ones((3, 4), np.int32 if kind == "I" else np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match=r"a\.tif holds .* values: save it with 8 or 16 bits"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", ["png", "jpg", "ppm", "bmp", "tif", "webp"])
def test_a_file_cut_off_is_an_error_that_names_it(tmp_path: Path, picture: np.ndarray, suffix: str) -> None:
    write_image(tmp_path / f"whole.{suffix}", np.tile(picture, (4, 4, 1)))
    content = (tmp_path / f"whole.{suffix}").read_bytes()
    path = tmp_path / f"cut.{suffix}"
    for share in (0.001, 0.01, 0.1, 0.5, 0.9):
        path.write_bytes(content[: int(len(content) * share) + 1])
        with pytest.raises(InputError, match=r"cut\.") as caught:
            read_image(path)
        assert "\n" not in str(caught.value)


def test_what_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("hello, this is no picture")
    (tmp_path / "empty.png").write_bytes(b"")
    for name, said in (
        ("text.png", "no image that can be read: it starts with 'hello, t'"),
        ("empty.png", "is empty"),
        ("none.png", "does not exist"),
        (".", "is a folder"),
    ):
        for reader in (read_image, image_size):
            with pytest.raises(InputError, match=said):
                reader(tmp_path / name)


def test_an_absurd_size_is_refused(tmp_path: Path) -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0)
    content = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    for reader in (read_image, image_size):
        with pytest.raises(InputError, match=r"a\.png"):
            reader(tmp_path / "a.png")


def test_what_cannot_be_written(tmp_path: Path, picture: np.ndarray) -> None:
    for name, image, quality, said in (
        ("a.gif", picture, 95, "no image format ends in '.gif'"),
        ("a", picture, 95, "no image format ends in ''"),
        ("a.png", picture.astype(np.float32), 95, "float32"),
        ("a.png", picture[..., :2], 95, "expected uint8"),
        ("a.png", picture[:0], 95, "shape"),
        ("a.pgm", picture, 95, "use .ppm"),
        ("a.jpg", picture, 0, "quality 0"),
        ("a.webp", np.zeros((1, 16384, 3), np.uint8), 95, "16384x1"),
        ("a.jpg", np.zeros((1, 65536, 3), np.uint8), 95, "65536x1"),
    ):
        with pytest.raises(InputError, match=said):
            write_image(tmp_path / name, image, quality)
    assert list(tmp_path.iterdir()) == []


def test_frames_in_natural_order(tmp_path: Path) -> None:
    order = [
        "2.png",
        "10.png",
        "a.jpg",
        "B.PNG",
        "c_1.ppm",
        "frame_2.png",
        "frame_2b.png",
        "frame_10.png",
        "frame_010.tif",
    ]
    for name in [*order, ".hidden.png", "notes.txt", "flow.flo"]:
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    listed = [path.name for path in list_images(tmp_path)]
    assert sorted(listed) == sorted(order)
    assert listed[:6] == order[:6]
    assert listed.index("frame_2.png") < listed.index("frame_10.png")
    assert listed.index("frame_2b.png") < listed.index("frame_10.png")
    with pytest.raises(InputError, match="no folder"):
        list_images(tmp_path / "notes.txt")


def test_odd_digits_do_not_stop_the_listing(tmp_path: Path) -> None:
    for name in ("x².png", "x٣.png", "x3.png", "3x.png", "x.png"):
        (tmp_path / name).write_bytes(b"")
    assert len(list_images(tmp_path)) == 5


def test_real_images_as_opencv_reads_them(shared: Path) -> None:
    folder = shared / "data"
    files = [next(folder.glob(f"**/*.{suffix}")) for suffix in ("tif", "ppm", "png")]
    files += [next(folder.glob("KITTI/2012/training/*/*.png")), next(folder.glob("cutouts/*.png"))]
    for path in files:
        expected = cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1]
        np.testing.assert_array_equal(read_image(path), expected)
        assert image_size(path) == expected.shape[:2]
