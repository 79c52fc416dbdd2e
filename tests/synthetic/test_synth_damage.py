"""Packed pairs whose files are damaged: one clear error, and never a wrong pair."""

import json
from pathlib import Path

import numpy as np
import pytest

from flowzoo.cli import main
from flowzoo.errors import InputError
from flowzoo.synthetic import PackedPairs

GOOD = {"version": 1, "count": 2, "size": [24, 32], "seed": 0, "backward": False, "recipe": {}}


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    words = ["--count", "2", "--procedural", "2", "--size", "32x24", "--packed"]
    assert main(["synth", "-o", str(folder), *words]) == 0
    return folder


@pytest.mark.parametrize(
    "change",
    [
        {"count": -1}, {"count": 0}, {"count": 1.5}, {"count": True}, {"count": "2"}, {"count": [2]}, {"count": 10**30},
        {"size": [24]}, {"size": [24, 0]}, {"size": [24, -3]}, {"size": [24, 1e9]}, {"size": [24, 32, 1]},
        {"size": [float("inf"), 2]}, {"size": "24x32"}, {"seed": -1}, {"seed": None}, {"backward": 1}, {"recipe": []},
        {"more": 1}, {"version": 7}, {"version": []},
    ],
)  # fmt: skip
def test_a_manifest_with_a_wrong_value(change: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps(GOOD | change))
    with pytest.raises(InputError, match=r"manifest\.json|missing or cut"):
        PackedPairs(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"null", b"[" * 100_000, b'{"version": 1', b"\xff\xfe", b'{"a":' * 50_000, b'{"seed": 0}', b" " * (1 << 21)],
)
def test_a_manifest_that_is_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(InputError, match=r"manifest\.json"):
        PackedPairs(tmp_path)


@pytest.mark.parametrize("kind", ["frames", "flow", "masks"])
def test_a_shard_of_another_shape_or_type(kind: str, packed: Path, tmp_path: Path) -> None:
    for file in packed.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    path = tmp_path / f"00000_{kind}.npy"
    array = np.load(path)
    assert PackedPairs(tmp_path)[1].flow.shape == (2, 24, 32)
    for wrong in (array.astype(np.float64), array.reshape(-1), np.concatenate([array, array])):
        np.save(path, wrong)
        with pytest.raises(InputError, match="shard 0"):
            PackedPairs(tmp_path)[0]
    content = path.read_bytes()
    for damaged in (b"\x93NUMPY\1\0" + content[8:], content[:8] + b"((((" + content[12:], b"x" * len(content)):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="shard 0"):
            PackedPairs(tmp_path)[0]
