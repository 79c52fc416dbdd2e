"""Files are complete or not there."""

import errno
import threading
from pathlib import Path

import pytest

from flowzoo.errors import InputError
from flowzoo.files.atomic import replacing


def test_a_finished_block_writes_the_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "a.flo"
    with replacing(target) as temporary:
        assert temporary.suffix == ".flo"
        assert temporary.parent == target.parent
        assert temporary.name.startswith(".")
        temporary.write_bytes(b"done")
        assert not target.exists()
    assert target.read_bytes() == b"done"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("fault", [KeyboardInterrupt, SystemExit, RuntimeError, GeneratorExit])
def test_an_interrupted_block_leaves_the_old_file(tmp_path: Path, fault: type[BaseException]) -> None:
    target = tmp_path / "a.flo"
    target.write_bytes(b"old")

    def interrupted() -> None:
        with replacing(target) as temporary:
            temporary.write_bytes(b"half")
            raise fault

    with pytest.raises(fault):
        interrupted()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    def write() -> None:
        with replacing(tmp_path / "a.flo") as temporary:
            temporary.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(InputError, match=r"a\.flo.*No space left") as caught:
        write()
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path, said in (
        (tmp_path, "folder"),
        (tmp_path / "file" / "a.flo", "is a file, not a folder"),
        (tmp_path / "file" / "deeper" / "a.flo", "is a file, not a folder"),
        (Path("/dev/null"), "not an ordinary file"),
        (Path("/proc/flowzoo/a.flo"), "cannot write"),
        (tmp_path / ("n" * 300), "name too long"),
    ):
        with pytest.raises(InputError, match=said), replacing(path) as temporary:
            temporary.write_bytes(b"x")
    assert Path("/dev/null").is_char_device()


def test_a_name_of_the_longest_legal_length(tmp_path: Path) -> None:
    target = tmp_path / ("é" * 125 + ".flo")  # 254 bytes
    with replacing(target) as temporary:
        temporary.write_bytes(b"x")
    assert target.is_file()


def test_threads_that_write_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    together = threading.Barrier(8)

    def write(number: int) -> None:
        with replacing(target) as temporary:
            temporary.write_bytes(bytes([number]) * 1000)
            together.wait(10)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    content = target.read_bytes()
    assert len(content) == 1000
    assert len(set(content)) == 1
    assert list(tmp_path.iterdir()) == [target]
