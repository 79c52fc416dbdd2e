"""The cache on disk: where it is, and that a file counts only when it was complete."""

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from flowzoo import cache
from flowzoo.cache import Kept
from flowzoo.errors import InputError


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "deep" / "a.bin", tmp_path / "deep" / "a.json")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/homes/me")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    monkeypatch.setenv("FLOWZOO_CACHE", "/chosen")
    assert cache.cache_folder() == Path("/chosen")
    monkeypatch.delenv("FLOWZOO_CACHE")
    assert cache.cache_folder() == Path("/caches/flowzoo")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache.cache_folder() == Path("/homes/me/.cache/flowzoo")


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FLOWZOO_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)  # KeyError, as for a number without an account
    with pytest.raises(InputError, match=r"no home folder .*set FLOWZOO_CACHE"):
        cache.cache_folder()


def test_a_file_counts_with_its_record_only(kept: Kept) -> None:
    assert kept.recorded() is None
    with kept.replacing(source="somewhere") as path:
        path.write_bytes(b"content")
        assert not kept.path.exists()
    assert kept.recorded() == {
        "bytes": 7,
        "sha256": "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73",
        "source": "somewhere",
    }
    assert kept.intact()
    assert names(kept.path.parent) == ["a.bin", "a.json"]
    kept.path.write_bytes(b"Content")
    assert not kept.intact()
    kept.record.write_text("[" * 100_000)
    assert kept.recorded() is None
    kept.record.unlink()
    assert not kept.intact()


def test_a_block_that_fails_leaves_the_old_file(kept: Kept) -> None:
    with kept.replacing() as path:
        path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), kept.replacing() as path:
        path.write_bytes(bytes([1 // (len(path.name) - 5)]))
    assert kept.path.read_bytes() == b"old"
    assert kept.intact()
    assert names(kept.path.parent) == ["a.bin", "a.json"]


def test_leftovers_are_removed_without_following_links(kept: Kept, tmp_path: Path) -> None:
    with kept.replacing() as path:
        path.write_bytes(b"x")
    folder = kept.path.parent
    killed = folder / ".partial-killed"
    killed.mkdir()
    (killed / "a.bin").write_bytes(b"ha")
    (tmp_path / "mine.txt").write_text("keep")
    (killed / "link").symlink_to(tmp_path / "mine.txt")
    cache.remove_leftovers(folder)
    assert names(folder) == ["a.bin", "a.json"]
    assert (tmp_path / "mine.txt").read_text() == "keep"


def _count(arguments: tuple[Path, Path]) -> None:
    folder, file = arguments
    with cache.locked(folder):
        number = int(file.read_text())
        time.sleep(0.02)
        file.write_text(str(number + 1))


def test_a_lock_holds_between_processes(tmp_path: Path) -> None:
    file = tmp_path / "number"
    file.write_text("0")
    with multiprocessing.get_context("fork").Pool(4) as pool:
        pool.map(_count, [(tmp_path / "locked", file)] * 12, chunksize=1)
    assert file.read_text() == "12"


def test_a_lock_that_is_a_link_or_a_pipe_is_an_error(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("keep")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".lock").symlink_to(target)
    with pytest.raises(InputError, match="set FLOWZOO_CACHE"), cache.locked(tmp_path / "a"):
        pass
    assert target.read_text() == "keep"
    (tmp_path / "b").mkdir()
    os.mkfifo(tmp_path / "b" / ".lock")
    with cache.locked(tmp_path / "b"):  # no waiting for a writer at the other end
        pass


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="set FLOWZOO_CACHE"), cache.locked(tmp_path / "file" / "x"):
        pass
    kept = Kept(tmp_path / "file" / "x", tmp_path / "file" / "y")
    with pytest.raises(InputError, match="set FLOWZOO_CACHE"), kept.replacing():
        pass
