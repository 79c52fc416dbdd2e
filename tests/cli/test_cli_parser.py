"""What every command does: messages of one line, on any console, whatever the system refuses."""

import errno
import io
import sys
from pathlib import Path

import pytest
from evaluation_samples import picture

from flowzoo.cli import main
from flowzoo.errors import InputError, one_line
from flowzoo.files.images import write_image

NAMES = ("第一.png", "ñandú.png", "a\tb\x1b[31m.png", "\udcff\udcfe.png")


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1", "utf-8", "utf-16"])
@pytest.mark.parametrize("name", NAMES)
def test_no_name_ends_the_work(encoding: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`infer` with nothing to do prints the names of its inputs; a missing input is named in the message."""
    monkeypatch.chdir(tmp_path)
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(sys, stream, io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict"))
    write_image("x.png", picture(0, 20, 30))
    Path("x.png").rename(name)
    write_image("second.png", picture(1, 20, 30))
    Path("out.flo").write_bytes(b"there")
    assert main(["infer", name, "second.png", "-o", "out.flo", "--skip-existing"]) == 0
    sys.stdout.seek(0)
    assert "nothing to do" in sys.stdout.read()
    assert main(["infer", f"no-{name}", "second.png", "-o", "out.flo"]) == 2
    sys.stderr.seek(0)
    said = sys.stderr.read()
    assert said.count("\n") == 1
    assert "does not exist" in said
    assert "\x1b" not in said


def test_messages_are_one_short_line_without_control_characters() -> None:
    assert one_line("a\n  b\r\nc") == "a b c"
    assert one_line("two  blanks stay") == "two  blanks stay"
    assert one_line("bell \a escape \x1b[2J") == "bell \\x07 escape \\x1b[2J"
    shown = one_line("begin " + "x" * 5000 + " end")
    assert len(shown) < 1000
    assert shown.startswith("begin xx")
    assert shown.endswith("xx end")
    assert str(InputError("begin\n" + "x" * 5000 + "\x1b end")) == one_line("begin " + "x" * 5000 + "\\x1b end")


@pytest.mark.parametrize(
    ("fault", "status", "said"),
    [
        (InputError("wrong\nthing"), 2, "flowzoo: wrong thing\n"),
        (PermissionError(errno.EACCES, "Permission denied", "/x/y"), 2, "flowzoo: /x/y: Permission denied; check"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x" * 4000), 2, "File name too long"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "flowzoo: No space left on device"),
        (LookupError("ours"), 1, "flowzoo: internal error: LookupError: ours"),
    ],
)
def test_what_ends_a_command(
    fault: Exception, status: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> None:
        raise fault

    monkeypatch.setattr("flowzoo.cli.models.run", fail)
    assert main(["models"]) == status
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert len(error) < 1000


LONG = "x" * 300


@pytest.mark.parametrize(
    "words",
    [
        ["infer", LONG, "b.png"],
        ["infer", "b.png", LONG],
        ["infer", LONG],
        ["infer", "--pairs", LONG],
        ["infer", "b.png", "b.png", "-o", f"{LONG}.flo"],
        ["infer", "b.png", "b.png", "-o", LONG],
        ["infer", "b.png", "b.png", "-o", "x.flo", "--picture", f"{LONG}.png"],
        ["infer", "b.png", "b.png", "-o", "x.flo", "--weights", LONG],
        ["weights", "info", LONG],
        ["weights", "import", LONG, "--model", "pwcnet", "-o", "x.safetensors"],
        ["evaluate", "sintel-clean", "--root", LONG],
        ["evaluate", "pairs", "--root", LONG],
        ["distill", "--pairs", LONG, "-o", "out"],
        ["train", "default", "--root", LONG],
        ["train", LONG, "--root", "."],
        ["synth", "-o", "o", "--textures", LONG],
        ["synth", "-o", LONG, "--count", "1", "--procedural", "1"],
        ["bench", "operators", "--json", LONG],
    ],
)
def test_names_that_are_too_long(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_image("b.png", picture(1, 20, 30))
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "xxx" in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.png"]
