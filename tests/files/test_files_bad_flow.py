"""Files that are no flow: each is one clear line that names the file, and none makes the reader allocate much."""

import struct
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowzoo.errors import InputError
from flowzoo.files.flow import read_flow, write_flow

SUFFIXES = ("flo", "pfm", "npy", "flo5", "png")


def npy(shape: tuple[int, ...], kind: str = "<f4", payload: int = 16) -> bytes:
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(payload)


BAD = {
    "empty.flo": (b"", "is empty"),
    "short.flo": (b"PIEH\x01\x00", "truncated"),
    "cut.flo": (b"PIEH" + struct.pack("<ii", 10, 10) + bytes(799), "truncated"),
    "long.flo": (b"PIEH" + struct.pack("<ii", 10, 10) + bytes(801), "too long"),
    "huge.flo": (b"PIEH" + struct.pack("<ii", 2**31 - 1, 2**31 - 1) + bytes(800), "header"),
    "negative.flo": (b"PIEH" + struct.pack("<ii", -10, -10) + bytes(800), "-10x-10"),
    "nothing.flo": (b"PIEH" + struct.pack("<ii", 0, 10), "0x10"),
    "big_endian.flo": (b"HEIP" + struct.pack(">ii", 10, 10) + bytes(800), "starts with 'HEIP"),
    "text.flo": (b"this is a text file\n" * 50, "starts with 'this is '"),
    "text.png": (b"this is a text file\n" * 50, r"no \.png flow file"),
    "text.npy": (b"this is a text file\n" * 50, r"no \.npy flow file"),
    "text.flo5": (b"this is a text file\n" * 50, r"no \.flo5 flow file"),
    "frame.jpg": (b"\xff\xd8\xff\xe0" + bytes(100), "holds no flow"),
    "short.pfm": (b"PF\n10 ", "no PFM header"),
    "cut.pfm": (b"PF\n10 10\n-1.0\n" + bytes(1199), "truncated"),
    "long.pfm": (b"PF\n10 10\n-1.0\n" + bytes(1201), "too long"),
    "huge.pfm": (b"PF\n99999999999 99999999999\n-1.0\n" + bytes(1200), "header"),
    "nothing.pfm": (b"PF\n0 10\n-1.0\n", "0x10"),
    "grey.pfm": (b"Pf\n10 10\n-1.0\n" + bytes(400), "one channel"),
    "scale.pfm": (b"PF\n10 10\n-2.5\n" + bytes(1200), "scale -2.5"),
    "word.pfm": (b"PF\n10 10\n--e\n" + bytes(1200), "no number"),
    "short.npy": (b"\x93NUMPY\x01", "no complete .npy"),
    "cut_header.npy": (npy((2, 3, 2))[:40], "no complete .npy"),
    "cut.npy": (npy((2, 3, 2), payload=40), "truncated"),
    "huge.npy": (npy((10**9, 10**9, 2)), "truncated"),
    "shape.npy": (npy((2, 10, 10), payload=800), r"transpose it"),
    "plane.npy": (npy((10, 10), payload=400), r"shape \(10, 10\)"),
    "nothing.npy": (npy((0, 10, 2)), r"shape \(0, 10, 2\)"),
    "complex.npy": (npy((2, 3, 2), "<c8", 96), "complex64"),
    "objects.npy": (npy((2, 3, 2), "|O", 96), "object"),
    "version.npy": (b"\x93NUMPY\x09\x09" + bytes(100), "version 9.9"),
    "deep.npy": (npy((2, 3, 2)).replace(b"False", b"-" * 5), "no complete .npy"),
    "recursive.npy": (b"\x93NUMPY\x02\x00" + struct.pack("<I", 8000) + b"(" * 8000, "no complete .npy"),
    "signs.npy": (b"\x93NUMPY\x02\x00" + struct.pack("<I", 8000) + b"-" * 7999 + b"1", "no complete .npy"),
    "comment_only.pfm": (b"PF\n" + b"# a comment\n" * 9, "no PFM header"),
    "endless_comment.pfm": (b"PF\n#" + b"x" * 9000, "no PFM header"),
    "code.npy": (npy((2, 3, 2)).replace(b"False", b"f(())"), "no complete .npy"),
    "short.flo5": (b"\x89HDF\r\n\x1a\n" + bytes(40), "no complete .flo5"),
    "short.png": (b"\x89PNG\r\n\x1a\n\x00", "no header"),
}


@pytest.mark.parametrize("name", BAD)
def test_each_is_one_line_that_names_the_file(tmp_path: Path, name: str) -> None:
    content, said = BAD[name]
    path = tmp_path / name
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=said) as caught:
            read_flow(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert len(message) < 300 + len(str(path))
    assert peak < 30e6  # h5py is imported within


def test_missing_files_folders_and_devices(tmp_path: Path) -> None:
    for path, said in (
        (tmp_path / "none.flo", "does not exist"),
        (tmp_path, "is a folder"),
        (Path("/dev/zero"), "not an ordinary file"),
        (tmp_path / ("n" * 300), "name too long"),
    ):
        with pytest.raises(InputError, match=said):
            read_flow(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path, suffix: str) -> None:
    flow = np.random.default_rng(0).normal(0, 20, (6, 5, 2)).astype(np.float32)
    write_flow(tmp_path / f"a.{suffix}", flow)
    content = (tmp_path / f"a.{suffix}").read_bytes()
    closing = 25 if suffix == "png" else 0  # checksums and end mark: without them the pixels can still be complete
    cut = tmp_path / f"cut.{suffix}"
    for length in range(0, len(content) - closing, max(1, len(content) // 150)):
        cut.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"cut\."):
            read_flow(cut)


@pytest.mark.parametrize("suffix", ["flo", "pfm", "npy", "png"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_bytes_never_raise_anything_else(tmp_path: Path, suffix: str, changes: list[tuple[float, int]]) -> None:
    path = tmp_path / f"a.{suffix}"
    write_flow(path, np.ones((3, 4, 2), np.float32))
    content = bytearray(path.read_bytes())
    for place, value in changes:
        # Squared, so that most changes fall on the header.
        content[int(place**2 * (len(content) - 1))] = value
    path.write_bytes(content)
    try:
        flow, valid = read_flow(path)
    except InputError:
        return
    assert flow.shape == (*valid.shape, 2)
    assert np.isfinite(flow).all()


def test_flo5_without_flow(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "a.flo5"
    for name, shape, kind, said in (
        ("disparity", (3, 4), "f4", "no data set 'flow': found disparity"),
        ("flow", (3, 4), "f4", r"shape \(3, 4\)"),
        ("flow", (0, 4, 2), "f4", r"shape \(0, 4, 2\)"),
        ("flow", (3, 4, 2), "S5", "floats of shape"),
        ("flow", (10**7, 10**7, 2), "f4", "cannot hold shape"),
    ):
        with h5py.File(path, "w") as content:
            content.create_dataset(name, shape, kind, chunks=True)
        with pytest.raises(InputError, match=said):
            read_flow(path)
    with h5py.File(path, "w") as content:
        content.create_group("flow")
    with pytest.raises(InputError, match="no data set 'flow'"):
        read_flow(path)


@pytest.mark.parametrize("kind", ["external link", "soft link", "external storage", "virtual"])
def test_flo5_that_points_at_another_file(tmp_path: Path, kind: str) -> None:
    h5py = pytest.importorskip("h5py")
    path, other = tmp_path / "a.flo5", tmp_path / "secret.flo5"
    with h5py.File(other, "w") as content:
        content["flow"] = np.full((3, 4, 2), 7, np.float32)
    with h5py.File(path, "w") as content:
        if kind == "external link":
            content["flow"] = h5py.ExternalLink(str(other), "flow")
        elif kind == "soft link":
            content["other"] = h5py.ExternalLink(str(other), "flow")
            content["flow"] = h5py.SoftLink("/other")
        elif kind == "external storage":
            content.create_dataset("flow", (3, 4, 2), "f4", external=[(str(other), 0, 96)])
        else:
            layout = h5py.VirtualLayout((3, 4, 2), "f4")
            layout[:] = h5py.VirtualSource(str(other), "flow", (3, 4, 2))
            content.create_virtual_dataset("flow", layout)
    with pytest.raises(InputError, match=r"a\.flo5 has no flow of its own"):
        read_flow(path)


def test_without_h5py_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(InputError, match=r"pip install 'flowzoo\[spring\]'"):
        write_flow(tmp_path / "a.flo5", np.ones((2, 2, 2)))
    assert list(tmp_path.iterdir()) == []


def test_a_frame_given_as_flow(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "frame.png"), np.zeros((5, 5, 3), np.uint8))
    with pytest.raises(InputError, match="is a colour picture"):
        read_flow(tmp_path / "frame.png")
