"""Flow files against other readers and writers, and against the formats' definitions."""

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

import flowzoo
from flowzoo.errors import InputError
from flowzoo.files.flow import read_flow, write_flow

EXACT = ("flo", "pfm", "npy", "flo5")
LAST_BITS = [[0.1, -0.0], [1e-42, 123456.789], [-1 / 3, 5e-324]], [[2**-24, 999999999.0], [1.0, 2.0], [-1e9, 1e9]]


@pytest.fixture
def flow() -> np.ndarray:
    """2x3 vectors whose last bits matter: subnormal, negative zero, the largest values that still are flow."""
    return np.array(LAST_BITS, np.float32)


def bits(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, np.float32).view(np.uint32)


def parse_flo(content: bytes) -> np.ndarray:
    """Middlebury's definition, value by value."""
    assert struct.unpack("<f", content[:4]) == (202021.25,)
    width, height = struct.unpack("<ii", content[4:12])
    values = struct.unpack(f"<{2 * width * height}f", content[12:])
    flow = np.empty((height, width, 2), np.float32)
    for row in range(height):
        for column in range(width):
            at = 2 * (row * width + column)
            flow[row, column] = values[at : at + 2]
    return flow


def parse_pfm(content: bytes) -> np.ndarray:
    """Debevec's definition of colour PFM, three values a pixel, rows from below."""
    kind, size, scale, rest = content.split(b"\n", 3)
    assert kind == b"PF"
    width, height = map(int, size.split())
    order = "<" if float(scale) < 0 else ">"
    values = struct.unpack(f"{order}{3 * width * height}f", rest)
    flow = np.empty((height, width, 2), np.float32)
    for row in range(height):
        for column in range(width):
            at = 3 * ((height - 1 - row) * width + column)
            flow[row, column] = values[at : at + 2]
    return flow


@pytest.mark.parametrize("suffix", EXACT)
def test_every_bit_comes_back(tmp_path: Path, flow: np.ndarray, suffix: str) -> None:
    write_flow(tmp_path / f"a.{suffix}", flow)
    read, valid = read_flow(tmp_path / f"a.{suffix}")
    assert read.dtype == np.float32
    assert read.flags.writeable
    assert read.flags.c_contiguous
    assert valid.dtype == bool
    assert valid.all()
    np.testing.assert_array_equal(bits(read), bits(flow))


@pytest.mark.parametrize("suffix", EXACT)
def test_unknown_pixels_come_back_as_invalid_zeros(tmp_path: Path, flow: np.ndarray, suffix: str) -> None:
    valid = np.array([[True, False, True], [False, True, True]])
    write_flow(tmp_path / f"a.{suffix}", flow, valid)
    read, found = read_flow(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(found, valid)
    np.testing.assert_array_equal(bits(read[valid]), bits(flow[valid]))
    assert (read[~valid] == 0).all()


@pytest.mark.parametrize("suffix", EXACT)
@pytest.mark.parametrize("unknown", [np.nan, np.inf, -np.inf, 1.1e9])
def test_without_a_mask_vectors_that_are_no_numbers_are_unknown(
    tmp_path: Path, flow: np.ndarray, suffix: str, unknown: float
) -> None:
    flow[1, 2, 1] = unknown
    write_flow(tmp_path / f"a.{suffix}", flow)
    _, valid = read_flow(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(valid, [[True, True, True], [True, True, False]])


def test_flo_and_pfm_by_their_definition(tmp_path: Path, flow: np.ndarray) -> None:
    write_flow(tmp_path / "a.flo", flow)
    write_flow(tmp_path / "a.pfm", flow)
    np.testing.assert_array_equal(bits(parse_flo((tmp_path / "a.flo").read_bytes())), bits(flow))
    np.testing.assert_array_equal(bits(parse_pfm((tmp_path / "a.pfm").read_bytes())), bits(flow))


def test_flo_and_opencv_both_ways(tmp_path: Path) -> None:
    flow = np.random.default_rng(1).normal(0, 30, (37, 53, 2)).astype(np.float32)
    write_flow(tmp_path / "ours.flo", flow)
    np.testing.assert_array_equal(bits(cv2.readOpticalFlow(str(tmp_path / "ours.flo"))), bits(flow))
    assert cv2.writeOpticalFlow(str(tmp_path / "theirs.flo"), flow)
    np.testing.assert_array_equal(bits(read_flow(tmp_path / "theirs.flo")[0]), bits(flow))
    assert (tmp_path / "ours.flo").read_bytes() == (tmp_path / "theirs.flo").read_bytes()


def test_pfm_and_opencv_both_ways(tmp_path: Path) -> None:
    values = np.random.default_rng(1).normal(0, 30, (37, 53, 3)).astype(np.float32)
    write_flow(tmp_path / "ours.pfm", values[..., :2])
    theirs = cv2.imread(str(tmp_path / "ours.pfm"), cv2.IMREAD_UNCHANGED)[..., ::-1]
    np.testing.assert_array_equal(bits(theirs[..., :2]), bits(values[..., :2]))
    assert (theirs[..., 2] == 0).all()
    assert cv2.imwrite(str(tmp_path / "theirs.pfm"), np.ascontiguousarray(values[..., ::-1]))
    np.testing.assert_array_equal(bits(read_flow(tmp_path / "theirs.pfm")[0]), bits(values[..., :2]))


def test_big_endian_pfm_with_windows_lines(tmp_path: Path, flow: np.ndarray) -> None:
    rows = np.zeros((2, 3, 3), ">f4")
    rows[..., :2] = flow[::-1]
    (tmp_path / "a.pfm").write_bytes(b"PF\r\n3 2\r\n1.000000\r\n" + rows.tobytes())
    np.testing.assert_array_equal(bits(read_flow(tmp_path / "a.pfm")[0]), bits(flow))


def test_npy_is_what_numpy_loads(tmp_path: Path, flow: np.ndarray) -> None:
    write_flow(tmp_path / "a.npy", flow, np.array([[True, True, True], [True, True, False]]))
    loaded = np.load(tmp_path / "a.npy")
    np.testing.assert_array_equal(bits(loaded[0]), bits(flow[0]))
    assert np.isnan(loaded[1, 2]).all()


@pytest.mark.parametrize("kind", ["float64", "float16", ">f4", "int32", "uint8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_of_other_types_and_orders(tmp_path: Path, kind: str, order: str) -> None:
    values = np.asarray(np.arange(12).reshape(2, 3, 2), dtype=kind, order=order)
    np.save(tmp_path / "a.npy", values)
    read, valid = read_flow(tmp_path / "a.npy")
    assert read.dtype == np.float32
    assert valid.all()
    np.testing.assert_array_equal(read, np.arange(12).reshape(2, 3, 2))


def test_flo5_is_springs_layout(tmp_path: Path, flow: np.ndarray) -> None:
    h5py = pytest.importorskip("h5py")
    write_flow(tmp_path / "a.flo5", flow, np.array([[True, True, True], [True, True, False]]))
    with h5py.File(tmp_path / "a.flo5") as content:
        assert list(content) == ["flow"]
        assert content["flow"].compression == "gzip"
        loaded = content["flow"][()]
    assert loaded.dtype == np.float32
    np.testing.assert_array_equal(bits(loaded[0]), bits(flow[0]))
    assert np.isnan(loaded[1, 2]).all()
    with h5py.File(tmp_path / "theirs.flo5", "w") as content:
        content.create_dataset("flow", data=flow.astype(np.float64), chunks=(1, 3, 2), shuffle=True, compression="lzf")
    np.testing.assert_array_equal(bits(read_flow(tmp_path / "theirs.flo5")[0]), bits(flow))


def test_content_decides_and_not_the_name(tmp_path: Path, flow: np.ndarray) -> None:
    for name in EXACT:
        write_flow(tmp_path / f"{name}.data", flow, format=name)
        np.testing.assert_array_equal(bits(read_flow(tmp_path / f"{name}.data")[0]), bits(flow))


def test_the_packages_door(tmp_path: Path, flow: np.ndarray) -> None:
    flowzoo.write_flow(str(tmp_path / "A.FLO"), flow.tolist())
    np.testing.assert_array_equal(bits(flowzoo.read_flow(str(tmp_path / "A.FLO"))[0]), bits(flow))


@pytest.mark.parametrize("suffix", [*EXACT, "png"])
def test_one_pixel_and_views_that_are_not_contiguous(tmp_path: Path, suffix: str) -> None:
    flow = np.arange(2 * 8 * 6, dtype=np.float32).reshape(2, 8, 6).transpose(1, 2, 0)[::-3, ::2]
    for part in (flow, flow[:1, :1]):
        write_flow(tmp_path / f"a.{suffix}", part)
        np.testing.assert_array_equal(read_flow(tmp_path / f"a.{suffix}")[0], part)


def test_what_cannot_be_written(tmp_path: Path, flow: np.ndarray) -> None:
    bad = flow.copy()
    bad[1, 0, 1] = np.nan
    everywhere = np.ones((2, 3), bool)
    for path, values, options, said in (
        ("a.flo", bad, {"valid": everywhere}, "1 valid pixels, first at row 1, column 0"),
        ("a.flo", flow[..., 0], {}, r"shape \(2, 3\)"),
        ("a.flo", flow.transpose(2, 0, 1), {}, "expected"),
        ("a.flo", flow[:0], {}, r"\(0, 3, 2\)"),
        ("a.flo", flow.astype(complex), {}, "complex"),
        ("a.flo", flow, {"valid": everywhere.T}, r"valid has shape \(3, 2\)"),
        ("a.flow", flow, {}, "no flow format ends in '.flow'"),
        ("a.flo", flow, {"format": "kiti"}, "did you mean 'kitti'"),
        ("a.flo", np.full((1, 1, 2), 1e300), {"valid": np.ones((1, 1))}, "not a finite number"),
    ):
        with pytest.raises(InputError, match=said) as caught:
            write_flow(tmp_path / path, values, **options)
        assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_real_flow_files_come_back_byte_for_byte(tmp_path: Path, shared: Path) -> None:
    unknown = 0
    files = [*sorted((shared / "data").glob("**/*.flo"))[::3], *(shared / "data").glob("Middlebury/**/*.flo")]
    assert len(files) > 8
    for path in files:
        flow, valid = read_flow(path)
        stored = cv2.readOpticalFlow(str(path))
        np.testing.assert_array_equal(valid, (np.abs(stored) <= 1e9).all(axis=2))
        np.testing.assert_array_equal(bits(flow[valid]), bits(stored[valid]))
        unknown += int((~valid).sum())
        write_flow(tmp_path / "a.flo", flow, valid)
        assert (tmp_path / "a.flo").read_bytes() == path.read_bytes()
    assert unknown > 0


@pytest.mark.parametrize(
    "header",
    [
        b"PF \n2 1 \n-1.0 \n",
        b"PF\t\n2 1\t\r\n-1.0\t\r\n",
        b"PF\n# written by a tool\n2 1\n-1.0\n",
        b"PF # a\n# b\n2 # width\n1 # height\n-1.0 # scale\n",
        b"PF\n\n2\n1\n-1.000000\n",
    ],
)
def test_pfm_headers_with_blanks_and_comments(tmp_path: Path, header: bytes) -> None:
    values = np.array([[[1.5, -2.5, 0], [3.0, 4.0, 0]]], "<f4")
    (tmp_path / "a.pfm").write_bytes(header + values.tobytes())
    flow, valid = read_flow(tmp_path / "a.pfm")
    np.testing.assert_array_equal(flow, values[..., :2])
    assert valid.all()
