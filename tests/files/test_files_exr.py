"""OpenEXR: flow in forward.u and forward.v, ST maps, and what is refused."""

import builtins

import numpy as np
import pytest

import flowzoo
from flowzoo.errors import InputError
from flowzoo.files import exr
from flowzoo.files.flow import read_flow, write_flow
from flowzoo.files.images import image_size, read_image, read_picture, write_image

openexr = pytest.importorskip("OpenEXR")


def field():
    return np.random.default_rng(2).normal(0, 40, (19, 31, 2)).astype(np.float32)


def stored(path):
    with openexr.File(str(path), separate_channels=True) as content:
        return {name: channel.pixels for name, channel in content.channels().items()}


def test_flow_stands_in_the_channels_of_compositors(tmp_path):
    flow = field()
    write_flow(tmp_path / "a.exr", flow)
    found = stored(tmp_path / "a.exr")
    assert set(found) == {"forward.u", "forward.v"}
    np.testing.assert_array_equal(found["forward.u"], flow[..., 0])
    np.testing.assert_array_equal(found["forward.v"], flow[..., 1])
    assert found["forward.u"].dtype == np.float32


def test_it_comes_back_to_the_last_bit_and_unknown_pixels_do_too(tmp_path):
    flow, valid = field(), np.ones((19, 31), bool)
    valid[3, 4] = False
    write_flow(tmp_path / "a.exr", flow, valid)
    back, known = flowzoo.read_flow(tmp_path / "a.exr")
    np.testing.assert_array_equal(known, valid)
    np.testing.assert_array_equal(back[valid], flow[valid])
    assert np.isnan(stored(tmp_path / "a.exr")["forward.u"][3, 4])


def test_half_precision_is_rounded_to_nearest_and_refused_where_it_does_not_fit(tmp_path):
    flow = field()
    write_flow(tmp_path / "a.exr", flow, format="exr-half")
    found = stored(tmp_path / "a.exr")["forward.v"]
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, flow[..., 1].astype(np.float16))
    flow[0, 0] = 1e5
    with pytest.raises(InputError, match="does not fit 16-bit"):
        write_flow(tmp_path / "b.exr", flow, format="exr-half")
    assert [path.name for path in tmp_path.iterdir()] == ["a.exr"]


def test_an_st_map_counts_from_the_lower_left_corner_at_pixel_centres(tmp_path):
    flow = np.zeros((4, 8, 2), np.float32)
    flow[1, 2] = (3, 2)  # from row 1, column 2 to row 3, column 5
    exr.write_st_map(tmp_path / "st.exr", flow)
    found = stored(tmp_path / "st.exr")
    found = found.get("RGB", np.dstack([found[name] for name in "RGB"]) if "R" in found else None)
    assert found[3, 0].tolist() == pytest.approx([0.5 / 8, 0.5 / 4, 0])
    assert found[0, 7].tolist() == pytest.approx([7.5 / 8, 3.5 / 4, 0])
    assert found[1, 2].tolist() == pytest.approx([5.5 / 8, 0.5 / 4, 0])


@pytest.mark.parametrize("cut", [3, 40, 300, -1])
def test_damaged_files_are_one_line(tmp_path, cut, capfd):
    write_flow(tmp_path / "a.exr", field())
    content = (tmp_path / "a.exr").read_bytes()
    (tmp_path / "b.exr").write_bytes(content[:cut])
    with pytest.raises(InputError) as caught:
        read_flow(tmp_path / "b.exr")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_other_channels_are_named(tmp_path):
    with openexr.File({"type": openexr.scanlineimage}, {"Z": np.zeros((2, 3), np.float32)}) as content:
        content.write(str(tmp_path / "z.exr"))
    with pytest.raises(InputError, match=r"no channels forward\.u and forward\.v: found Z"):
        read_flow(tmp_path / "z.exr")


def test_a_header_that_promises_too_much_is_refused(tmp_path):
    write_flow(tmp_path / "a.exr", field())
    content = bytearray((tmp_path / "a.exr").read_bytes())
    for name in (b"dataWindow\0box2i\0", b"displayWindow\0box2i\0"):
        place = content.index(name) + len(name) + 4 + 8
        content[place : place + 8] = (99_999).to_bytes(4, "little") * 2
    (tmp_path / "b.exr").write_bytes(content)
    with pytest.raises(InputError):
        read_flow(tmp_path / "b.exr")


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    original = builtins.__import__

    def refuse(name, *rest, **more):
        if name == "OpenEXR":
            raise ImportError(name)
        return original(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(InputError, match=r"flowzoo\[formats\]"):
        write_flow(tmp_path / "a.exr", field())
    assert not list(tmp_path.iterdir())


def write_frame(path, linear):
    header = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
    channels = {name: np.ascontiguousarray(linear[..., index]) for index, name in enumerate("RGB")}
    with openexr.File(header, channels) as content:
        content.write(str(path))


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_a_frame_in_linear_light_is_taken_as_srgb(tmp_path, kind):
    shown = np.random.default_rng(0).uniform(0, 1, (19, 31, 3))
    linear = np.where(shown <= 0.04045, shown / 12.92, ((shown + 0.055) / 1.055) ** 2.4).astype(kind)
    linear[0, 0] = (-0.5, 7, np.nan)
    write_frame(tmp_path / "a.exr", linear)
    assert image_size(tmp_path / "a.exr") == (19, 31)
    found = read_picture(tmp_path / "a.exr")
    assert found.dtype == np.uint16
    assert found[0, 0].tolist() == [0, 65535, 0]
    step = 40 if kind == np.float16 else 1  # half floats have 11 binary digits
    assert np.abs(found[1:].astype(float) - 65535 * shown[1:]).max() <= step
    np.testing.assert_array_equal(read_image(tmp_path / "a.exr"), found >> 8)


def test_infer_takes_frames_of_exr_and_says_how(tmp_path):
    from flowzoo.inference.sources import open_source

    for index in range(3):
        write_frame(tmp_path / f"f{index}.exr", np.full((8, 9, 3), 0.1 * index, np.float32))
    source = open_source(str(tmp_path))
    assert len(list(source.pairs())) == 2
    assert source.notes[-1].startswith("f0.exr is taken as linear light")
    write_image(tmp_path / "f3.png", np.zeros((8, 9, 3), np.uint8))
    with pytest.raises(InputError, match=r"holds \.exr files and other images"):
        open_source(str(tmp_path))


def test_flow_is_no_frame(tmp_path):
    write_flow(tmp_path / "a.exr", field())
    for read in (read_picture, read_image, image_size):
        with pytest.raises(InputError, match=r"a\.exr has no channels R and G and B: found forward\.u, forward\.v"):
            read(tmp_path / "a.exr")
