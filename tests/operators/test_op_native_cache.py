"""What the cache of compiled kernels may hold: nothing is loaded that another user can have put there, or torn."""

import ctypes
import hashlib
import json
import logging
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from flowzoo import cache
from flowzoo.operators import native

COMPILER = shutil.which("c++") or shutil.which("g++")
pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")

SOURCE = 'extern "C" __attribute__((visibility("default"))) int flowzoo_answer() { return 42; }\n'
root_only = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")
NOBODY = 65534


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty kernel cache, and kernels that take no time to compile."""
    source = tmp_path / "kernels" / "answer.cpp"
    source.parent.mkdir()
    source.write_text(SOURCE)
    monkeypatch.setattr(native, "asset_folder", lambda folder: tmp_path / folder)
    monkeypatch.setenv("FLOWZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(native._patience, "waits", True)  # whatever a command of an earlier test asked for
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    return tmp_path / "cache" / "native"


def kept(folder: Path) -> cache.Kept:
    """The library in `folder`, compiled and not loaded."""
    (name,) = {"answer.cpp"}
    key = native._key(native._compiler(), {name: folder.parents[1] / "kernels" / name})
    found = cache.Kept(folder / f"operators-{key}.so", folder / f"operators-{key}.json")
    folder.mkdir(parents=True, mode=0o700)
    native._build(native._compiler(), {name: folder.parents[1] / "kernels" / name}, found)
    return found


def plant(where: cache.Kept, trace: Path) -> None:
    """Another library in its place that leaves a trace when it is loaded, with the record that belongs to it."""
    source = trace.with_suffix(".cpp")
    source.write_text(
        f'#include <cstdio>\n{SOURCE}__attribute__((constructor)) static void run() {{ fopen("{trace}", "w"); }}\n'
    )
    new = trace.with_suffix(".so")
    subprocess.run([COMPILER, "-shared", "-fPIC", str(source), "-o", str(new)], check=True)
    os.replace(new, where.path)
    record = {"bytes": where.path.stat().st_size, "sha256": hashlib.sha256(where.path.read_bytes()).hexdigest()}
    where.record.write_text(json.dumps(record))


def give_file_away(library: Path) -> None:
    os.chown(library, NOBODY, NOBODY)


def give_folder_away(library: Path) -> None:
    os.chown(library.parent, NOBODY, NOBODY)


def give_folder_above_away(library: Path) -> None:
    os.chown(library.parents[1], NOBODY, NOBODY)


def let_others_write_the_file(library: Path) -> None:
    library.chmod(0o777)


def let_others_write_the_folder(library: Path) -> None:
    library.parent.chmod(0o777)


def let_others_write_the_folder_above(library: Path) -> None:
    library.parents[1].chmod(0o777)


def link_to_another_file(library: Path) -> None:
    library.rename(library.with_suffix(".moved"))
    library.symlink_to(library.with_suffix(".moved"))


def give_it_a_second_name(library: Path) -> None:
    library.with_suffix(".second").hardlink_to(library)


def link_to_a_folder_of_another(library: Path) -> None:
    other = library.parents[2] / "other"
    library.parent.rename(other)
    os.chown(other, NOBODY, NOBODY)
    library.parent.symlink_to(other)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(give_file_away, marks=root_only),
        pytest.param(give_folder_away, marks=root_only),
        pytest.param(give_folder_above_away, marks=root_only),
        pytest.param(link_to_a_folder_of_another, marks=root_only),
        let_others_write_the_file,
        let_others_write_the_folder,
        let_others_write_the_folder_above,
        link_to_another_file,
        give_it_a_second_name,
    ],
)
def test_what_another_user_can_have_put_there_is_not_loaded(folder: Path, tmp_path: Path, change) -> None:
    library, trace = kept(folder), tmp_path / "trace"
    plant(library, trace)
    change(library.path)
    kernels = native._loaded_or_built()
    assert not trace.exists()
    assert kernels.flowzoo_answer() == 42


def test_what_is_ours_is_loaded_and_not_built_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(folder)
    monkeypatch.setattr(native, "_build", None)
    assert native._loaded_or_built().flowzoo_answer() == 42


def test_a_wide_umask_does_not_spoil_the_library(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.umask(0)
    try:
        native._loaded_or_built()
    finally:
        os.umask(before)
    monkeypatch.setattr(native, "_build", None)
    assert native._loaded_or_built().flowzoo_answer() == 42


@pytest.mark.parametrize("damage", ["cut", "empty", "rubbish", "bit", "other library", "no record", "torn record"])
def test_a_damaged_library_is_built_again_and_never_loaded(folder: Path, tmp_path: Path, damage: str) -> None:
    library, trace = kept(folder), tmp_path / "trace"
    content = library.path.read_bytes()
    if damage == "other library":
        record = library.record.read_bytes()
        plant(library, trace)
        library.record.write_bytes(record)
    elif damage == "no record":
        plant(library, trace)
        library.record.unlink()
    elif damage == "torn record":
        plant(library, trace)
        library.record.write_bytes(b'{"bytes": ')
    else:
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        library.path.write_bytes({"cut": content[:5000], "empty": b"", "rubbish": b"damaged", "bit": flipped}[damage])
    assert native._loaded_or_built().flowzoo_answer() == 42
    assert not trace.exists()
    assert library.intact()
    assert sorted(path.suffix for path in folder.iterdir()) == ["", ".json", ".so"]  # the first is the lock


def test_a_library_without_a_function_is_one_log_line(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    empty = tmp_path / "empty.cpp"
    empty.write_text("void f() {}\n")
    compiler = tmp_path / "lazy-c++"
    compiler.write_text(
        f'#!/bin/sh\nfor last; do :; done\n[ "$last" = --version ] || {COMPILER} -shared -fPIC {empty} -o "$last"\n'
    )
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    with caplog.at_level(logging.INFO):
        assert native._load.__wrapped__() is None
    assert len(caplog.records) == 1
    assert "lacks flowzoo_answer" in caplog.text


def test_without_a_home_the_folder_for_temporary_files_is_used(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FLOWZOO_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", _no_home)
    assert isinstance(native._loaded_or_built(), ctypes.CDLL)
    assert len(list((tmp_path / "elsewhere").glob("flowzoo-*/native/*.so"))) == 1


def _no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")
