"""Files of `torch.save` as torch itself reads them, and the same files forged and damaged."""

import pickle
import struct
import sys
import time
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torch_archives as archives

from flowzoo.checkpoints.formats import read_checkpoint
from flowzoo.errors import InputError


def read(folder: Path, content: bytes, entry: str | None = None):
    path = folder / "a.pth"
    path.write_bytes(content)
    return read_checkpoint(path, entry)


def refused(folder: Path, content: bytes, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        read(folder, content)
    message = str(caught.value)
    assert str(folder / "a.pth") in message
    assert "\n" not in message
    assert len(message) < 500


base = torch.arange(60.0).reshape(3, 4, 5)
TENSORS = {
    "whole": base,
    "part": base[1:, ::2],
    "turned": base.permute(2, 0, 1),
    "again": base,
    "expanded": torch.ones(1, 3, 1).expand(4, 3, 5),
    "scalar": torch.tensor(3),
    "empty": torch.zeros(0, 4),
    "parameter": torch.nn.Parameter(torch.randn(2, 2)),
    "buffer": torch.nn.Buffer(torch.randn(2)),
    **{
        str(kind): torch.tensor([0, 1, 1, 0, 1]).to(kind) for kind in (torch.bool, torch.int8, torch.uint8, torch.int16)
    },
    **{str(kind): torch.tensor([-2, 1, 0]).to(kind) for kind in (torch.int32, torch.int64, torch.float64)},
    **{str(kind): torch.tensor([-2.5, 1, 0]).to(kind) for kind in (torch.float16, torch.bfloat16, torch.complex64)},
}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_every_kind_of_tensor_as_torch_reads_it(tmp_path: Path, zipped: bool) -> None:
    content = archives.saved(TENSORS, zipped=zipped)
    found = read(tmp_path, content).tensors
    wanted = torch.load(tmp_path / "a.pth", weights_only=True)
    assert list(found) == list(wanted)
    for name, value in wanted.items():
        assert found[name].dtype == value.dtype
        assert found[name].shape == value.shape
        assert found[name].stride() == value.stride()
        assert torch.equal(found[name], value), name
    assert found["whole"].data_ptr() == found["again"].data_ptr()


def test_float8_and_untyped_storages(tmp_path: Path) -> None:
    values = {"a": torch.tensor([1.0, -2.0]).to(torch.float8_e4m3fn), "b": torch.tensor([7], dtype=torch.uint16)}
    found = read(tmp_path, archives.saved(values)).tensors
    assert found["a"].dtype == torch.float8_e4m3fn
    assert found["a"].float().tolist() == [1, -2]
    assert found["b"].to(torch.int64).tolist() == [7]


def test_a_file_of_a_machine_with_the_other_byte_order(tmp_path: Path) -> None:
    values = {"a": torch.tensor([1.5, -2.0]), "b": torch.tensor([3, 4]), "c": torch.tensor([1 + 2j])}

    def swap(content: dict[str, bytes]) -> None:
        content["archive/byteorder"] = b"big"
        for key, width in (("0", 4), ("1", 8), ("2", 4)):
            name = f"archive/data/{key}"
            content[name] = np.frombuffer(content[name], f"<u{width}").byteswap().tobytes()

    found = read(tmp_path, archives.changed(archives.saved(values), swap)).tensors
    assert all(torch.equal(found[name], value) for name, value in values.items())


def test_a_flipped_bit_is_found_by_the_archive_s_checksum(tmp_path: Path) -> None:
    content = bytearray(archives.saved({"a.weight": torch.arange(1000.0)}))
    place = content.index(struct.pack("<f", 500.0))
    content[place] ^= 1
    refused(tmp_path, bytes(content), "checksum")


def test_a_file_saved_without_checksums_is_read(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        content = archives.saved({"a": torch.arange(5.0)})
    finally:
        torch.serialization.set_crc32_options(True)
    assert read(tmp_path, content).tensors["a"].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "numbers",
    [
        {"count": 5},
        {"count": 2**50},
        {"count": -1},
        {"key": "1"},
        {"key": "../data/0"},
        {"offset": 1},
        {"offset": -1},
        {"offset": 2**62},
        {"size": (2, 4), "stride": (4, 1)},
        {"size": (2, 3), "stride": (2**40, 1)},
        {"size": (2, 3), "stride": (-3, 1)},
        {"size": (-2, -3)},
        {"size": (2**33, 2**33), "stride": (0, 0)},
        {"size": (300, 300), "stride": (0, 0)},
        {"size": (2,)},
        {"size": (1,) * 70, "stride": (0,) * 70},
        {"storage": "DoubleStorage"},
        {"storage": "QInt8Storage"},
        {"storage": "load"},
    ],
)
def test_numbers_of_a_tensor_that_do_not_fit_its_storage(tmp_path: Path, numbers: dict) -> None:
    good = archives.with_pickle(archives.state_dict(archives.tensor()), _0=struct.pack("<6f", *range(6)))
    assert read(tmp_path, good).tensors["a.weight"].tolist() == [[0, 1, 2], [3, 4, 5]]
    pickled = archives.state_dict(archives.tensor(**numbers))
    refused(tmp_path, archives.with_pickle(pickled, _0=struct.pack("<6f", *range(6))), "damaged or truncated")


def test_members_that_claim_more_than_the_file_has(tmp_path: Path) -> None:
    content = bytearray(archives.saved({"a.weight": torch.arange(4.0)}))
    start = content.index(b"PK\x01\x02")
    while start > 0:
        content[start + 20 : start + 28] = struct.pack("<II", 2**30, 2**30)
        start = content.find(b"PK\x01\x02", start + 1)
    refused(tmp_path, bytes(content), "damaged or truncated")


def test_compressed_members_are_not_unpacked(tmp_path: Path) -> None:
    content = archives.members(archives.saved({"a.weight": torch.zeros(200_000)}))
    refused(tmp_path, archives.packed(content, zipfile.ZIP_DEFLATED), "members are larger|compressed")


def forged_array(state: tuple) -> bytes:
    """A state dict whose value is a NumPy scalar of a type with a state of the forger's choice."""
    kind = b"cnumpy\ndtype\n(" + archives.text("V16") + b"\x89\x88tR" + pickle.dumps(state, 2)[2:-1] + b"b"
    return (
        b"\x80\x02}"
        + archives.text("epoch")
        + b"cnumpy._core.multiarray\nscalar\n("
        + kind
        + b"C\x10"
        + b"A" * 16
        + b"tRs."
    )


@pytest.mark.parametrize(
    "state",
    [
        (3, "|", None, ("a", "b"), {"a": (4702111234474983745, 0), "b": (4702111234474983745, 8)}, 16, 1, 27),
        (3, "|", (4702111234474983745, (2,)), None, None, 16, 1, 27),
        (3, "|", None, None, None, -(2**40), 1, 63),
    ],
)
def test_forged_states_of_numpy_types_are_not_given_to_numpy(tmp_path: Path, state: tuple) -> None:
    refused(tmp_path, archives.with_pickle(forged_array(state)), "damaged or truncated")


def test_deep_keys_do_not_reach_the_c_stack(tmp_path: Path) -> None:
    pickled = b"\x80\x02})" + b"\x85" * 300_000 + b"Ns."
    refused(tmp_path, archives.with_pickle(pickled), "keys")


def test_objects_of_other_programs_are_left_out_and_named(tmp_path: Path) -> None:
    def shell(module: str, name: str) -> bytes:
        return b"c" + f"{module}\n{name}\n".encode() + b"(" + archives.text("x") + b"tR}b"

    classes = [
        *(("pathlib._local", "PosixPath"), ("pathlib", "PosixPath"), ("argparse", "Namespace"), ("uuid", "UUID")),
        *(("lightning_fabric.utilities.data", "AttributeDict"), ("torch.optim.lr_scheduler", "OneCycleLR")),
    ]
    extras = b"".join(archives.text(f"{index}") + shell(*names) + b"s" for index, names in enumerate(classes))
    pickled = b"\x80\x02}" + archives.text("state_dict") + b"}" + archives.text("a.weight") + archives.tensor() + b"ss"
    found = read(tmp_path, archives.with_pickle(pickled + extras + b".", _0=bytes(24)))
    assert list(found.tensors) == ["a.weight"]
    assert found.ignored == tuple(sorted(".".join(names) for names in classes))


def test_a_whole_network_is_told_from_a_state_dict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("their_project")
    module.Net = type("Net", (torch.nn.Linear,), {"__module__": "their_project"})
    monkeypatch.setitem(sys.modules, "their_project", module)
    refused(tmp_path, archives.saved(module.Net(2, 2)), r"object of class their_project\.Net, not a state dict")


OTHERS = {
    "script": (
        {"net/constants.pkl": b"\x80\x02).", "net/data.pkl": b"\x80\x02}.", "net/code/__torch__.py": b"x"},
        "TorchScript",
    ),
    "arrays": ({"a.npy": b"\x93NUMPY", "b.npy": b"\x93NUMPY"}, r"NumPy archive \(\.npz\)"),
    "other": ({"read.me": b"x", "net.pth": b"y"}, r"zip archive of other files \(read\.me, net\.pth\).*unpack it"),
    "nothing": ({}, "of other files"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_archives_are_named_for_what_they_are(tmp_path: Path, name: str) -> None:
    content, said = OTHERS[name]
    data = archives.packed(content)
    refused(tmp_path, data if content else b"PK\x03\x04" + data, said)


def test_entries(tmp_path: Path) -> None:
    one, two = {"a.weight": torch.ones(2)}, {"a.weight": torch.full((2,), 2.0)}
    step = {"exp_avg": torch.zeros(2)}
    content = archives.saved({"epoch": 3, "model": one, "model_ema": two, "optimizer": {"state": {0: step}}})
    found = read(tmp_path, content)
    assert (found.entry, found.others, found.facts) == ("model", ("model_ema",), {"epoch": 3})
    assert found.tensors["a.weight"].tolist() == [1, 1]
    found = read(tmp_path, content, "model_ema")
    assert (found.entry, found.others) == ("model_ema", ("model",))
    assert found.tensors["a.weight"].tolist() == [2, 2]
    with pytest.raises(InputError, match=r"no weights called 'ema': it holds model, model_ema"):
        read(tmp_path, content, "ema")
    found = read(tmp_path, archives.saved({"callbacks": {"ema": {"state_dict": two}}, "state_dict": one}))
    assert (found.entry, found.others) == ("state_dict", ("callbacks.ema.state_dict",))
    found = read(tmp_path, archives.saved({"generator": one, "epoch": 1}))
    assert (found.entry, found.others) == ("generator", ())
    with pytest.raises(InputError, match="several sets of weights, it holds generator, critic: say which with --entry"):
        read(tmp_path, archives.saved({"generator": one, "critic": two}))
    found = read(tmp_path, archives.saved({"ema": two, "best_score": torch.tensor(0.5)}))
    assert found.entry == "ema"


def test_an_averaged_model(tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Linear(2, 3))
    averaged = torch.optim.swa_utils.AveragedModel(network)
    averaged.update_parameters(network)
    for content in (averaged.state_dict(), {"averaged": averaged.state_dict()}):
        found = read(tmp_path, archives.saved(content))
        assert list(found.tensors) == list(network.state_dict())
        assert found.facts["n_averaged"] == 1


def test_shared_mappings_are_not_walked_for_ever(tmp_path: Path) -> None:
    """Ten levels of a hundred names each for one and the same mapping."""
    level: dict = {"a.weight": torch.ones(1)}
    for _ in range(10):
        level = dict.fromkeys((f"n{index}" for index in range(100)), level)
    start = time.process_time()
    with pytest.raises(InputError):
        read(tmp_path, archives.saved(level))
    assert time.process_time() - start < 5


def test_facts_that_cannot_be_printed_are_left_out(tmp_path: Path) -> None:
    content = {"state_dict": {"a": torch.ones(1)}, "huge": 10**5000, "esc\x1b[31m": 4, "long": "x" * 1000}
    assert read(tmp_path, archives.saved(content)).facts == {"esc?[31m": 4}
