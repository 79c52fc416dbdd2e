"""Pickles as data: plain values come out as they went in, and nothing that a file names is ever run or trusted."""

import argparse
import collections
import datetime
import io
import operator
import os
import pathlib
import pickle
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from flowzoo.files.pickled_arrays import ARRAYS
from flowzoo.files.pickles import CodeError, Foreign, PickleError, read_pickle

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def read(content: bytes) -> object:
    return read_pickle(io.BytesIO(content), len(content), ARRAYS)[0]


PLAIN = {
    "numbers": [0, 1, 255, 256, 70_000, -5, 2**40, -(2**70), 1.5, float("inf"), True, False, None],
    "texts": ["", "a", "ä" * 300, "x" * 70_000, "line\nbreak"],
    "nested": {"a": [1, (2, 3, 4, 5), {"b": ()}], 3: "x", (1, "y"): [], 2.5: [[]]},
    "ordered": collections.OrderedDict([("b", 1), ("a", 2)]),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", PLAIN)
def test_plain_values(name: str, protocol: int) -> None:
    assert read(pickle.dumps(PLAIN[name], protocol)) == PLAIN[name]


@pytest.mark.parametrize("protocol", PROTOCOLS[1:])
@pytest.mark.parametrize("kind", ["?", "<i1", ">u2", "<i4", ">i8", "<f2", "<f4", ">f8", "<c8"])
def test_arrays_and_their_numbers(kind: str, protocol: int) -> None:
    array = (np.arange(24).reshape(2, 3, 4) % 7).astype(kind)
    values = {
        "c": array,
        "f": np.asfortranarray(array),
        "empty": array[:0],
        "one": array[1, 1, 1],
        "none": array[0, 0, 0],
    }
    found = read(pickle.dumps([values, values["c"]], protocol))
    for name, wanted in values.items():
        np.testing.assert_array_equal(found[0][name], wanted)
        assert found[0][name].dtype == wanted.dtype
        assert found[0][name].shape == wanted.shape
    assert found[1] is found[0]["c"]  # the second step of an array changes every place that refers to it


def test_a_stream_of_several(tmp_path: Path) -> None:
    stream = io.BytesIO(pickle.dumps([1], 2) + pickle.dumps({"a": 2}, 2) + b"rest")
    assert [read_pickle(stream, 100)[0] for _ in range(2)] == [[1], {"a": 2}]
    assert stream.read() == b"rest"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_objects_of_other_programs_become_shells(protocol: int) -> None:
    content = {
        "options": argparse.Namespace(rate=1, folder=pathlib.PurePosixPath("/x")),
        "when": datetime.datetime(2024, 5, 6),
        "counts": collections.Counter("aab"),
        "kept": [1, 2],
    }
    data = pickle.dumps(content, protocol)
    found, names = read_pickle(io.BytesIO(data), len(data))
    assert isinstance(found["options"], Foreign)
    assert isinstance(found["when"], Foreign)
    assert found["counts"] == {"a": 2, "b": 1}
    assert found["kept"] == [1, 2]
    assert {"argparse.Namespace", "datetime.datetime"} <= names


def named(module: str, name: str, arguments: bytes = b")") -> bytes:
    """A pickle that calls module.name."""
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + arguments + b"R."


@pytest.mark.parametrize(
    ("module", "name"),
    [
        *(
            ("pathlib._local", "PosixPath"),
            ("pathlib", "WindowsPath"),
            ("__main__", "Options"),
            ("mmcv.utils", "Config"),
        ),
        *(
            ("lightning_fabric.utilities.data", "AttributeDict"),
            ("omegaconf.dictconfig", "DictConfig"),
            ("enum", "Enum"),
        ),
    ],
)
def test_a_class_that_is_not_here_is_a_shell_too(module: str, name: str) -> None:
    content = named(module, name, b"(X\x01\x00\x00\x00xt")
    found, names = read_pickle(io.BytesIO(content), len(content))
    assert isinstance(found, Foreign)
    assert names == {f"{module}.{name}"}


@pytest.mark.parametrize(
    "target",
    [eval, exec, open, getattr, __import__, os.system, os.remove, subprocess.Popen, operator.attrgetter, pickle.loads],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_functions_of_the_standard_library_are_refused_by_name(target, protocol: int) -> None:
    with pytest.raises(CodeError, match=target.__name__):
        read(pickle.dumps([target], protocol))


def test_nothing_is_imported_or_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trap_module.py").write_text("raise SystemExit('imported')\ndef payload(*a): raise SystemExit('run')\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert isinstance(read(named("trap_module", "payload")), Foreign)
    assert "trap_module" not in sys.modules


class Forged:
    """An allowed NumPy object with a state that NumPy itself would trust."""

    def __init__(self, *steps) -> None:
        self.steps = steps

    def __reduce__(self):
        return self.steps


def forged_dtype(fields: object = ("a",)) -> bytes:
    """A dtype of one field whose table of fields is not one; NumPy reads the address 0x41... from such a file."""
    state = (3, "|", None, fields, {"a": (b"A" * 8, 0)}, 16, 1, 27)
    return pickle.dumps(Forged(np.dtype, ("V16", False, True), state), 2)


@pytest.mark.parametrize(
    "state", [(3, "<", None, ("a",), {"a": 1}, 4, 1, 0), (3, "<", ("i4", (2,)), None, None, -1, -1, 63)]
)
def test_a_forged_number_type_is_refused(state: tuple) -> None:
    for content in (forged_dtype(), pickle.dumps(Forged(np.dtype, ("f4", False, True), state), 2)):
        with pytest.raises(PickleError):
            read(content)


@pytest.mark.parametrize(
    ("shape", "kind", "raw"),
    [
        ((2, 2), "f4", b"\0" * 15),
        ((2**62, 4), "f4", b""),
        ((-1, -4), "f4", b"\0" * 16),
        ((4,), "O8", b"\0" * 32),
        ((4,), "V4", b"\0" * 16),
        ((1,) * 65, "f4", b"\0" * 4),
        (4, "f4", b"\0" * 16),
    ],
)
def test_an_array_has_the_bytes_of_its_shape(shape: object, kind: str, raw: bytes) -> None:
    new_array = np.zeros(0).__reduce__()[0]
    array = Forged(new_array, (np.ndarray, (0,), b"b"), (1, shape, np.dtype(kind), False, raw))
    with pytest.raises(PickleError):
        read(pickle.dumps(array, 2))


def deep(depth: int) -> bytes:
    """{((((...),),),): None}"""
    return b"\x80\x02}" + b")" + b"\x85" * depth + b"Ns."


def test_deep_keys_are_refused_and_deep_values_are_not() -> None:
    for depth in (10, 200_000):
        with pytest.raises(PickleError, match="keys"):
            read(deep(depth))
    value = read(b"\x80\x02)" + b"\x85" * 200_000 + b".")
    assert isinstance(value, tuple)


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02]" + b"q\x00h\x00" * 5 + b"e.",
        b"\x80\x02N(.",
        b"\x80\x02(.",
        b"\x80\x02.",
        b"\x80\x02h\x07.",
        b"\x80\x02}}Ns.",
        b"\x80\x02](K\x01e",
        b"\x80\x02}(K\x01u.",
        b"\x80\x02K\x01K\x02a.",
        b"\x80\x02K\x01)R.",
        b"\x80\x02NNR.",
        b"\x80\x02K\x01Q.",
        b"\x80\x02P\n.",
        b"\x80\x02\x82\x01.",
        b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"x.",
        b"\x80\x04\x8e" + struct.pack("<Q", 2**63) + b"x.",
        b"\x80\x02L" + b"9" * 5000 + b"L\n.",
        b"\x80\x05\x97.",
        b"\x80\x02cno_newline",
        b"\x80\x02}" + b"\x8a\x09" + (2**61 - 1).to_bytes(9, "little") + b"Ns.",
    ],
)
def test_damage_is_always_the_same_exception(content: bytes) -> None:
    with pytest.raises(PickleError) as caught:
        read(content)
    assert len(str(caught.value)) < 300


def test_keys_of_many_parts_are_refused() -> None:
    """Four levels of a thousand references to the level below: a million of a million parts."""
    level = b"(" + b"N" * 1000 + b"tq\x00"
    for place in range(1, 4):
        level += b"(" + b"h%c" % (place - 1) * 1000 + b"tq%c" % place
    with pytest.raises(PickleError, match="keys"):
        read(b"\x80\x02" + level + b"}h\x03Ns.")
    pairs = {(1, ("a", 2)): 1, ("b",) * 50: 2}
    assert read(pickle.dumps(pairs)) == pairs


def test_a_few_bytes_cannot_ask_for_many_copies() -> None:
    """A long list, memoised, and again and again `list(it)`."""
    count = 50_000
    content = (
        b"\x80\x02]("
        + b"N" * count
        + b"e0]("
        + b"N" * count
        + b"eq\x00]("
        + b"cbuiltins\nlist\nh\x00\x85R" * count
        + b"e."
    )
    start = time.process_time()
    with pytest.raises(PickleError, match="copies"):
        read(content)
    assert time.process_time() - start < 20
