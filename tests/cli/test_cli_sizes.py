"""--size means the same in every command."""

import json
from pathlib import Path

import pytest

from flowzoo.cli import main
from flowzoo.cli.common import parse_size
from flowzoo.errors import InputError
from flowzoo.files.images import image_size


def test_width_comes_first() -> None:
    assert parse_size("1024x436") == (1024, 436)
    assert parse_size("7X5") == (7, 5)
    for wrong in ("", "x", "3", "3x", "0x4", "4x0", "-3x4", "3x4x5", "3.5x4", "\u00b3x4", "65537x3", "1" * 5000 + "x3"):
        with pytest.raises(InputError, match="WIDTHxHEIGHT"):
            parse_size(wrong)


def test_synth_and_bench_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--count", "1", "--procedural", "2", "--size", "40x24"]
    assert main(["synth", "-o", str(tmp_path), *words]) == 0
    assert image_size(tmp_path / "0000000-img_0.png") == (24, 40)
    assert json.loads((tmp_path / "manifest.json").read_text())["size"] == [24, 40]
    assert "40x24" in capsys.readouterr().out
    for words in (["bench", "--size", "3"], ["synth", "-o", str(tmp_path / "new"), "--size", "3"]):
        assert main(words) == 2
        assert "--size is WIDTHxHEIGHT" in capsys.readouterr().err
