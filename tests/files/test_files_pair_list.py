"""Lists of pairs: every way of writing one means the same files."""

import io
import os
import sys
from pathlib import Path

import pytest

from flowzoo.errors import InputError
from flowzoo.files.pair_list import read_pair_list, write_pair_list

NAMES = ("my frames/a 1.png", "my frames/b, 2.png", "it's #3.flo", "plain.png", "x,y.png", "q.flo")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "my frames").mkdir()
    for name in NAMES:
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def read(folder: Path, text: str | bytes) -> list[list[str]]:
    """The names of every pair, relative to the folder."""
    path = folder / "list.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    rows = []
    for pair in read_pair_list(path):
        files = [pair.first, pair.second] + ([] if pair.flow is None else [pair.flow])
        rows.append([os.path.relpath(file, folder) for file in files])
    return rows


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("plain.png q.png", ["plain.png", "q.png"]),
        ("  plain.png \t q.png  ", ["plain.png", "q.png"]),
        ("plain.png, q.png,q.flo", ["plain.png", "q.png", "q.flo"]),
        ("plain.png q.png q.flo", ["plain.png", "q.png", "q.flo"]),
        ("my frames/a 1.png\tmy frames/b, 2.png", ["my frames/a 1.png", "my frames/b, 2.png"]),
        ("my frames/a 1.png\t\tmy frames/b, 2.png\tit's #3.flo", ["my frames/a 1.png", "my frames/b, 2.png", NAMES[2]]),
        ("my frames/a 1.png,plain.png", ["my frames/a 1.png", "plain.png"]),
        (
            '"my frames/a 1.png","my frames/b, 2.png","it\'s #3.flo"',
            ["my frames/a 1.png", "my frames/b, 2.png", NAMES[2]],
        ),
        ('"my frames/a 1.png" "my frames/b, 2.png"', ["my frames/a 1.png", "my frames/b, 2.png"]),
        ("'my frames/a 1.png' plain.png 'it''s #3.flo'", ["my frames/a 1.png", "plain.png", NAMES[2]]),
        ('"my frames/a 1.png"  \t plain.png # a comment', ["my frames/a 1.png", "plain.png"]),
        ("my frames/a 1.png, plain.png # a comment", ["my frames/a 1.png", "plain.png"]),
        ("my\\ frames/a\\ 1.png plain.png", ["my frames/a 1.png", "plain.png"]),
        ("my frames\\a 1.png\tplain.png", ["my frames/a 1.png", "plain.png"]),
        ("x,y.png plain.png", ["x,y.png", "plain.png"]),
        ("x,y.png plain.png q.flo", ["x,y.png", "plain.png", "q.flo"]),
        ("plain.png 'tis.png", ["plain.png", "'tis.png"]),
        ("plain.png #q.png", None),
        ("my frames/a 1.png plain.png", None),
        ("plain.png", None),
        ("a b c d", None),
    ],
)
def test_one_line(line: str, expected: list[str] | None, folder: Path) -> None:
    if expected is not None:
        assert read(folder, f"# heading, with words\n\n   # another\n{line}\n") == [expected]
        return
    with pytest.raises(InputError, match=r"list\.txt, line 4: expected two or three names") as caught:
        read(folder, f"# heading, with words\n\n   # another\n{line}\n")
    assert "quote" in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends(encoding: str, ending: str, folder: Path) -> None:
    (folder / "ä 第.png").write_bytes(b"x")
    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    text = mark + ending.join(["ä 第.png\tplain.png", "", "plain.png\tä 第.png"])
    assert read(folder, text.encode(encoding)) == [["ä 第.png", "plain.png"], ["plain.png", "ä 第.png"]]


def test_other_bytes_are_those_of_the_files_name(folder: Path) -> None:
    name = b"\xe4\xff.png"
    with open(os.fsencode(folder) + b"/" + name, "wb") as file:
        file.write(b"x")
    path = folder / "list.txt"
    path.write_bytes(name + b" plain.png\n")
    pair = read_pair_list(path)[0]
    assert os.fsencode(pair.first.name) == name
    assert pair.first.read_bytes() == b"x"
    write_pair_list(folder / "again.txt", [[pair.first.name, "plain.png"]])
    assert read_pair_list(folder / "again.txt")[0].first == pair.first


def test_home_absolute_and_letters_that_only_look_like_line_ends(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    (folder / "deep").mkdir()
    (folder / "deep" / "~own.png").write_bytes(b"x")
    (folder / "deep" / "a\u2028b\x0c.png").write_bytes(b"x")
    path = folder / "deep" / "list.txt"
    path.write_text(
        f"~/plain.png {folder}/q.flo\n~own.png a\u2028b\x0c.png\n../plain.png ../x,y.png\n", encoding="utf-8"
    )
    first, second, third = read_pair_list(path)
    assert (first.first, first.second) == (folder / "plain.png", folder / "q.flo")
    assert (second.first, second.second) == (folder / "deep" / "~own.png", folder / "deep" / "a\u2028b\x0c.png")
    assert third.second.resolve() == folder / "x,y.png"
    assert [pair.line for pair in (first, second, third)] == [1, 2, 3]


def test_standard_input_starts_at_the_current_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbfplain.png q.flo\n")))
    pair = read_pair_list("-")[0]
    assert (pair.first, pair.second) == (Path("plain.png"), Path("q.flo"))


def test_what_is_no_list(folder: Path) -> None:
    os.mkfifo(folder / "fifo")
    (folder / "empty.txt").write_bytes(b"")
    (folder / "comments.txt").write_text("# nothing\n\n")
    (folder / "zeros.txt").write_bytes(b"plain.png\0q.png\n")
    (folder / "odd.txt").write_bytes(b"\xff\xfea\0b")
    with (folder / "huge.txt").open("wb") as file:
        file.truncate((1 << 28) + 1)
    for name, part in (
        ("none.txt", "does not exist"),
        (".", "is a folder"),
        ("fifo", "not an ordinary file"),
        ("empty.txt", "is empty"),
        ("comments.txt", "has no pairs"),
        ("zeros.txt", "zero bytes"),
        ("odd.txt", "damaged"),
        ("huge.txt", "more than 256 MB"),
    ):
        with pytest.raises(InputError, match=part):
            read_pair_list(folder / name)
    with pytest.raises(InputError, match="not an ordinary file"):
        read_pair_list("/dev/zero")


def test_a_written_list_is_read_back(folder: Path) -> None:
    names = [*NAMES, "#hash.png", '"quoted".png', "'single'.png", " leading.png", "tab\tbed.png", "trailing .png "]
    for name in names:
        (folder / name).write_bytes(b"x")
    rows = [[first, second, "q.flo"] for first in names for second in names]
    write_pair_list(folder / "list.txt", rows)
    found = [
        [os.path.relpath(p, folder) for p in (r.first, r.second, r.flow)] for r in read_pair_list(folder / "list.txt")
    ]
    assert found == rows
    with pytest.raises(InputError, match="line break"):
        write_pair_list(folder / "list.txt", [["a\nb.png", "plain.png"]])
