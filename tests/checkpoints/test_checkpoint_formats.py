"""Readers of every format, on good and on bad files."""

import argparse
import json
import pickle
import random
import sys
import types
from collections import OrderedDict
from pathlib import Path

import numpy as np
import published_files as published
import pytest
import torch
from safetensors.torch import save_file

from flowzoo.checkpoints.formats import Checkpoint, native, read_checkpoint
from flowzoo.checkpoints.formats.nested import find_state_dict
from flowzoo.errors import InputError

TENSORS = {"a.weight": torch.arange(24.0).reshape(2, 3, 2, 2), "a.bias": torch.tensor([1.5, -2.0])}


def same(found: dict, wanted: dict) -> bool:
    return list(found) == list(wanted) and all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 4, "optimizer": {"state": {}}},
        lambda state: {"meta": {"CLASSES": None, "time": "today", "iter": 5}, "state_dict": OrderedDict(state)},
        lambda state: {"model": {"state_dict": {f"module.{name}": value for name, value in state.items()}}},
        lambda state: {f"module.model.{name}": torch.nn.Parameter(value) for name, value in state.items()},
    ],
)
def test_torch_files_are_unwrapped(tmp_path: Path, zipped: bool, wrap) -> None:
    path = tmp_path / "no.suffix.helps"
    torch.save(wrap(TENSORS), path, _use_new_zipfile_serialization=zipped)
    found = read_checkpoint(path)
    assert same(found.tensors, TENSORS)
    assert found.format == "torch"
    assert not any(value.requires_grad for value in found.tensors.values())


@pytest.mark.parametrize("storage_module", [b"torch", b"torch.cuda"])
def test_torch_file_of_python_2_with_a_numpy_scalar(tmp_path: Path, storage_module: bytes) -> None:
    path = tmp_path / "old.pth.tar"
    arrays = {f"module.{name}": value.numpy() for name, value in TENSORS.items()}
    path.write_bytes(published.python2_torch_file(arrays, -123.456, storage_module))
    found = read_checkpoint(path)
    assert same(found.tensors, TENSORS)
    assert found.facts == {"epoch": 7, "best": -123.456}


def test_lightning_checkpoint_with_its_own_dict_and_other_plain_objects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsing = types.ModuleType("pytorch_lightning.utilities.parsing")
    parsing.AttributeDict = type("AttributeDict", (dict,), {"__module__": parsing.__name__})
    with monkeypatch.context() as patch:
        for name in ("pytorch_lightning", "pytorch_lightning.utilities"):
            patch.setitem(sys.modules, name, types.ModuleType(name))
        patch.setitem(sys.modules, parsing.__name__, parsing)
        content = {
            "state_dict": TENSORS,
            "hyper_parameters": parsing.AttributeDict(div_flow=20.0, args=argparse.Namespace(folder=Path("x"))),
            "best": np.float32(0.5),
            "curve": np.arange(3),
            "epoch": 9,
        }
        torch.save(content, tmp_path / "model.ckpt")
    found = read_checkpoint(tmp_path / "model.ckpt")
    assert same(found.tensors, TENSORS)
    assert found.facts == {"best": 0.5, "epoch": 9}


class Evil:
    """Leaves a trace if anyone unpickles it."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return (exec, (f"open({str(self.trace)!r}, 'w').close()",))


@pytest.mark.parametrize("kind", ["zip", "legacy", "plain-2", "plain-4"])
def test_code_in_a_pickle_is_refused_and_never_run(tmp_path: Path, kind: str) -> None:
    path, trace = tmp_path / "evil.pth", tmp_path / "trace"
    content = {"state_dict": TENSORS, "extra": Evil(trace)}
    if kind.startswith("plain"):
        path.write_bytes(pickle.dumps({"extra": Evil(trace)}, int(kind[-1])))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(InputError) as failure:
        read_checkpoint(path)
    assert not trace.exists()
    message = str(failure.value)
    assert str(path) in message
    assert "\n" not in message
    assert "code" in message
    if not kind.startswith("plain"):
        assert "exec" in message


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>quota exceeded</html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "LFS"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "picture"),
        (b"12345678" + bytes(100), "known are"),
        (random.Random(1).randbytes(5000), "no file of weights"),
        (b"\x0a\x03net" + random.Random(2).randbytes(5000), "caffemodel"),
        (b"\x0a\x03net", "without weights"),
        (b"PK\x03\x04" + random.Random(3).randbytes(500), "torch file"),
        (b"\x1f\x8b" + random.Random(4).randbytes(500), "archive"),
        ((40).to_bytes(8, "little") + b"{" + random.Random(5).randbytes(100), "safetensors"),
    ],
)
def test_other_content_is_named_for_what_it_is(tmp_path: Path, content: bytes, hint: str) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(InputError, match=hint) as failure:
        read_checkpoint(path)
    assert str(path) in str(failure.value)
    assert "\n" not in str(failure.value)


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no file of weights at .*missing\.pth"):
        read_checkpoint(tmp_path / "missing.pth")
    with pytest.raises(InputError, match="folder"):
        read_checkpoint(tmp_path)


def test_a_torch_file_without_tensors(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "state_dict": {}}, tmp_path / "a.pth")
    with pytest.raises(InputError, match="without a state dict"):
        read_checkpoint(tmp_path / "a.pth")


def good_files(folder: Path) -> list[Path]:
    """One small file of each format."""
    blobs = [published.blob(value.numpy()) for value in TENSORS.values()]
    caffe = published.caffemodel([published.layer("conv", "Convolution", blobs)])
    torch.save(TENSORS, folder / "zip.pth")
    torch.save(TENSORS, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    save_file(TENSORS, folder / "a.safetensors")
    (folder / "a.caffemodel").write_bytes(caffe)
    published.tar_gz(folder / "a.tar.gz", a__caffemodel=caffe)
    return sorted(folder.iterdir())


def test_truncated_files_of_every_format_are_clear_errors(tmp_path: Path) -> None:
    for path in good_files(tmp_path):
        content = path.read_bytes()
        read_checkpoint(path)
        for kept in sorted({1, 2, 9, 20, *range(30, len(content), max(len(content) // 12, 1)), len(content) - 1}):
            path.write_bytes(content[:kept])
            message, found = outcome(path)
            if found is None:
                assert str(path) in message
                assert "\n" not in message
            else:  # what is cut off belongs to no tensor: the end marker of an archive
                assert path.suffix == ".gz"
                assert found.tensors["conv/0"].numel() == 24


def outcome(path: Path) -> tuple[str, Checkpoint | None]:
    """What reading a file gives: an InputError's message, or the contents."""
    try:
        return "", read_checkpoint(path)
    except InputError as error:
        return str(error), None


def test_damaged_caffe_bytes_never_escape_as_other_errors(tmp_path: Path) -> None:
    content = bytearray(
        published.caffemodel(
            [
                published.layer("conv", "Convolution", [published.blob(np.ones((2, 3), "f4"))]),
                published.old_layer("old", 4, [published.blob(np.ones(4, "f4"), legacy=True, packed=False)]),
            ]
        )
    )
    path = tmp_path / "a.caffemodel"
    generator = random.Random(0)
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1 << generator.randrange(8)
        path.write_bytes(changed)
        message, found = outcome(path)
        assert found is not None or str(path) in message


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("old", [True, False])
def test_caffemodel_variants(tmp_path: Path, packed: bool, legacy: bool, old: bool) -> None:
    arrays = [TENSORS["a.weight"].numpy(), TENSORS["a.bias"].numpy()]
    blobs = [published.blob(array, legacy=legacy, packed=packed) for array in arrays]
    write = published.old_layer if old else published.layer
    kind = 4 if old else "Convolution"
    path = tmp_path / "x"
    silent = write("silent", 1 if old else "Silence", [])
    path.write_bytes(published.caffemodel([silent, write("c/1", kind, blobs), silent]))
    found = read_checkpoint(path)
    assert same(found.tensors, dict(zip(["c/1/0", "c/1/1"], TENSORS.values(), strict=True)))
    assert (found.format, found.facts) == ("caffemodel", {"name": "net"})


def test_caffemodel_whose_numbers_do_not_fill_their_shape(tmp_path: Path) -> None:
    wrong = published.field(7, published.field(1, b"\x02\x03")) + published.field(5, bytes(4 * 5))
    path = tmp_path / "x"
    path.write_bytes(published.caffemodel([published.layer("c", "Convolution", [wrong])]))
    with pytest.raises(InputError, match=r"shape \(2, 3\) with 5 numbers"):
        read_checkpoint(path)


def test_archives_need_exactly_one_caffemodel(tmp_path: Path) -> None:
    content = published.caffemodel([published.layer("c", "Convolution", [published.blob(np.ones(2, "f4"))])])
    published.tar_gz(tmp_path / "one.tar.gz", readme=b"x", _x__caffemodel=content, y__prototxt=b"layer")
    assert read_checkpoint(tmp_path / "one.tar.gz").tensors["c/0"].tolist() == [1, 1]
    published.tar_gz(tmp_path / "two.tar.gz", a__caffemodel=content, b__caffemodel=content)
    with pytest.raises(InputError, match=r"a\.caffemodel, b\.caffemodel"):
        read_checkpoint(tmp_path / "two.tar.gz")
    published.tar_gz(tmp_path / "none.tar.gz", readme=b"x")
    with pytest.raises(InputError, match="found none"):
        read_checkpoint(tmp_path / "none.tar.gz")


def test_our_format_keeps_everything_and_its_bytes_repeat(tmp_path: Path) -> None:
    tensors = {"b": TENSORS["a.weight"].transpose(0, 1), "a": TENSORS["a.bias"][:1], "n": torch.tensor(3)}
    facts = {"model": "m", "settings": {"z": 1, "a": [1, 2]}, "licence": "MIT"}
    native.write(tmp_path / "1.safetensors", tensors, facts)
    native.write(tmp_path / "2.safetensors", tensors, dict(reversed(facts.items())))
    found = read_checkpoint(tmp_path / "1.safetensors")
    assert found.format == "flowzoo"
    assert found.facts == facts
    assert all(torch.equal(found.tensors[name], value) for name, value in tensors.items())
    content = (tmp_path / "1.safetensors").read_bytes()
    assert content == (tmp_path / "2.safetensors").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert list(header["__metadata__"]) == ["flowzoo"]


def test_facts_must_be_plain(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="plain values"):
        native.write(tmp_path / "1.safetensors", TENSORS, {"model": "m", "when": object()})
    assert list(tmp_path.iterdir()) == []


def test_only_prefixes_that_all_share_are_removed() -> None:
    one = torch.zeros(1)
    assert list(find_state_dict({"module.a": one, "module.module.b": one}).tensors) == ["a", "module.b"]
    assert list(find_state_dict({"module.a": one, "b": one}).tensors) == ["module.a", "b"]
    assert list(find_state_dict({"moduleFeatures.a": one}).tensors) == ["moduleFeatures.a"]
    assert find_state_dict({"state_dict": {"deep": {"deeper": 1}}}).tensors == {}
