"""`flowzoo weights`, as it is called."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import flowzoo
from flowzoo.checkpoints import index
from flowzoo.cli import main

STATE = {f"module.{name}": value for name, value in flowzoo.create("pwcnet-paper", context=False).state_dict().items()}


@pytest.fixture
def published(tmp_path: Path) -> Path:
    torch.save({"state_dict": STATE, "epoch": 2}, tmp_path / "net.pth.tar")
    return tmp_path / "net.pth.tar"


def fails(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line of a command that ends with status 2."""
    assert main(["weights", *map(str, words)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_list_shows_tags_models_and_licences(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "list"]) == 0
    rows = capsys.readouterr().out.splitlines()
    row = next(row for row in rows if row.startswith("pwcnet-sintel "))
    assert "CC BY-NC-SA 4.0" in row
    assert "(nc)" in row
    assert main(["weights", "list", "liteflownet2*", "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    assert {entry["model"] for entry in entries} == {"liteflownet2", "liteflownet2-kitti"}
    assert "no weights match 'zz'" in fails(capsys, "list", "zz")
    assert main(["weights", "list", "--model", "liteflownet2", "--json"]) == 0
    assert {entry["model"] for entry in json.loads(capsys.readouterr().out)} == {"liteflownet2"}
    assert "no weights match 'zz' of liteflownet2" in fails(capsys, "list", "zz", "--model", "liteflownet2")
    assert "did you mean 'liteflownet2'" in fails(capsys, "list", "--model", "liteflowne2")


@pytest.mark.parametrize("words", [["list"], ["--help"], ["list", "--help"], ["info", "pwcnet-sintel"]])
def test_these_do_not_load_torch(words: list[str]) -> None:
    script = (
        f"import sys\nfrom flowzoo.cli import main\nstatus = main(['weights', *{words!r}])\n"
        "sys.exit(status or 10 * ('torch' in sys.modules) + 20 * ('numpy' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_info_of_a_tag_shows_scores_and_their_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "info", "liteflownet2-sintel"]) == 0
    text = capsys.readouterr().out
    assert "LiteFlowNet2 paper" in text
    assert "(epe 1.3)" in text
    assert "unknown until first download" in text


def test_info_of_every_tag(capsys: pytest.CaptureFixture[str]) -> None:
    for tag in index.entries():
        assert main(["weights", "info", tag]) == 0, tag
        assert tag in capsys.readouterr().out


def test_import_writes_our_format_and_info_says_what_it_is(
    tmp_path: Path, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "deep" / "ours.safetensors"
    words = ["weights", "import", str(published), "--model", "pwcnet-paper", "-o", str(target)]
    assert main([*words, "--set", "context=false", "--set", "mask_threshold=0.5"]) == 0
    capsys.readouterr()
    with safe_open(target, "pt") as file:
        facts = json.loads(file.metadata()["flowzoo"])
        assert all(torch.equal(file.get_tensor(name.removeprefix("module.")), value) for name, value in STATE.items())
    assert facts["model"] == "pwcnet-paper"
    assert facts["settings"] == {"context": False, "mask_threshold": 0.5}
    assert facts["source"] == "net.pth.tar"
    assert main(["weights", "info", str(target), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["format"], found["models"]) == ("flowzoo", ["pwcnet-paper"])
    assert main(["weights", "info", str(published)]) == 0
    text = capsys.readouterr().out
    assert "torch" in text
    assert "epoch" in text
    again = target.with_name("again.safetensors")
    words[2], words[-1] = str(target), str(again)
    assert main(words) == 0
    assert flowzoo.create("pwcnet-paper", weights=again).settings.mask_threshold == 0.5


def test_bad_imports_say_one_line_and_write_nothing(
    tmp_path: Path, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out" / "x.safetensors"
    rest = ("-o", out)
    assert "did you mean 'pwcnet'" in fails(capsys, "import", published, "--model", "pwcnett", *rest)
    assert "no file of weights" in fails(capsys, "import", tmp_path / "no", "--model", "pwcnet", *rest)
    assert "missing" in fails(capsys, "import", published, "--model", "pwcnet-paper", *rest)
    assert "has no setting" in fails(capsys, "import", published, "--model", "pwcnet", "--set", "contex=no", *rest)
    assert "KEY=VALUE" in fails(capsys, "import", published, "--model", "pwcnet", "--set", "context", *rest)
    assert "suffix .safetensors" in fails(capsys, "import", published, "--model", "pwcnet", "-o", tmp_path / "x.pth")
    broken = tmp_path / "broken.pth"
    broken.write_bytes(published.read_bytes()[:1000])
    assert "damaged or truncated" in fails(capsys, "import", broken, "--model", "pwcnet", *rest)
    assert "required" in fails(capsys, "import", published)
    assert "no weights called 'nothing'" in fails(capsys, "info", "nothing")
    assert "no file of weights at nothing.pth" in fails(capsys, "info", "nothing.pth")
    assert "did you mean 'pwcnet-sintel'" in fails(capsys, "get", "pwcnet-sintell")
    assert not out.parent.exists()


def test_get_without_a_network_connection(tmp_path: Path) -> None:
    """The licence comes first, then one clear line; nothing is left behind."""
    environment = os.environ | {"FLOWZOO_CACHE": str(tmp_path), "https_proxy": "http://127.0.0.1:9"}
    command = [sys.executable, "-m", "flowzoo", "weights", "get", "pwcnet-sintel"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 3
    assert "non-commercial" in lines[0]
    assert "cannot download" in lines[2]
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"] == []
