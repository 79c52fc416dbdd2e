"""Whatever is in a file: an InputError of one line or a right value, in two seconds and less than a gigabyte.

`pytest tests/fuzz --fuzz-minutes N` goes on with other inputs for N minutes, `--fuzz-seed S` begins with others; `-s`
shows the counts.
"""

import faulthandler
import gc
import mmap
import os
import signal
from pathlib import Path

import harness
import pytest
from mutations import KINDS, Change
from readers import Reader, readers

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = 25
NAMES = ("flow", "images", "targa", "weights", "lists of pairs", "presets", "index", "manifests")
NAMES += ("ETH3D", "MegaDepth", "HPatches", "lists of clips", "seq videos")

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that share their beginning")


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reader]:
    return readers(tmp_path_factory.mktemp("seeds"), REPOSITORY)


def test_no_reader_is_forgotten(known: dict[str, Reader]) -> None:
    assert set(known) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_seeds_are_valid(known: dict[str, Reader], name: str, tmp_path: Path) -> None:
    reader = known[name]
    path = tmp_path / reader.file
    path.parent.mkdir(parents=True, exist_ok=True)
    for start in reader.seeds.values():
        wanted = "refused" if name == "manifests" else "read"  # its shards are not there
        assert harness.outcome(reader, path, start.build(list(start.parts))) == wanted


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_change_changes_something(known: dict[str, Reader], kind: str) -> None:
    start = known["weights"].seeds["torch zip"]
    whole = start.build(list(start.parts))
    assert any(start.changed([Change(kind, 0, 0.3, amount, 7)]) != whole for amount in range(1, 9))


@pytest.mark.parametrize("name", NAMES)
def test_readers(
    known: dict[str, Reader],
    name: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    minutes = request.config.getoption("--fuzz-minutes")
    examples, seconds = (200, minutes * 60 / len(NAMES)) if minutes else (EXAMPLES, 0)
    first = request.config.getoption("--fuzz-seed")
    counts, faults = harness.fuzz(known[name], tmp_path, examples=examples, seconds=seconds, first_seed=first)
    with capsys.disabled():
        if minutes:
            print(f"\n{name}: {sum(counts.values())} inputs, {counts['read']} read, {counts['refused']} refused")
    assert not faults, "\n\n".join(faults)
    assert counts["refused"] > 0


def test_a_reader_that_breaks_the_rule_is_caught(known: dict[str, Reader], tmp_path: Path) -> None:
    """Each way of breaking it, in the place of a right reader."""
    good = known["HPatches"]

    def crash(path: Path) -> None:
        faulthandler.disable()
        os.kill(os.getpid(), signal.SIGSEGV)

    def other_error(path: Path) -> None:
        raise IndexError("oh")

    def slow(path: Path) -> None:
        end = harness.time.process_time() + 0.2
        while harness.time.process_time() < end:
            pass

    def large(path: Path) -> None:
        with mmap.mmap(-1, 10**8) as fresh:  # an allocator may have kept as much of what earlier tests freed
            for page in range(0, len(fresh), mmap.PAGESIZE):
                fresh[page] = 1

    for read, said in ((crash, "died"), (other_error, "IndexError"), (slow, "seconds for"), (large, "MiB for")):
        broken = Reader(good.seeds, good.file, read)
        with pytest.MonkeyPatch.context() as patch:
            if read is slow:  # pages take their time, too
                patch.setattr(harness, "MOST_SECONDS", 0.1)
            patch.setattr(harness, "MOST_BYTES", 2**24)
            _, faults = harness.fuzz(broken, tmp_path, examples=3)
        assert said in faults[0]
        assert "input kept as" in faults[0]


def test_a_hang_is_the_reader_s_own(known: dict[str, Reader], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts from the input's beginning, not from a file of an earlier reader; a busy machine is none."""
    good = known["HPatches"]
    earlier = tmp_path / good.file
    earlier.parent.mkdir(parents=True, exist_ok=True)
    earlier.write_bytes(b"")
    os.utime(earlier, (0, 0))
    assert harness.fuzz(good, tmp_path, examples=3)[1] == []
    monkeypatch.setattr(harness, "HANGS_AFTER", 0.5)
    endless = Reader(good.seeds, good.file, lambda path: harness.time.sleep(600))
    assert "hung for" in harness.fuzz(endless, tmp_path, examples=3)[1][0]


def test_what_earlier_tests_left_is_not_collected_in_the_child(known: dict[str, Reader], tmp_path: Path) -> None:
    """A decoder of video that waits there for its threads would wait for ever."""
    parent, collected = os.getpid(), tmp_path / "collected"

    class Left:
        def __del__(self) -> None:
            if os.getpid() != parent:
                collected.touch()

    good = known["HPatches"]
    gc.disable()
    try:
        left = Left()
        left.itself = left  # type: ignore[attr-defined]
        del left
        assert harness.fuzz(Reader(good.seeds, good.file, lambda path: gc.collect()), tmp_path, examples=3)[1] == []
    finally:
        gc.enable()
    assert not collected.exists()
