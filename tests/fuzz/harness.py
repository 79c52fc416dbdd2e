"""Runs one reader over many inputs in a process of its own, which may crash or hang, and says what happened."""

import gc
import json
import os
import resource
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from mutations import Change, Seed, changes
from readers import Reader

from flowzoo.errors import InputError

MOST_SECONDS = 2.0
MOST_BYTES = 2**30
LONGEST_MESSAGE = 1000
HANGS_AFTER = 120  # seconds of waiting, on a machine that may have other things to do


class BrokenRuleError(AssertionError):
    """An input with another outcome than an InputError or a right value."""


def outcome(reader: Reader, path: Path, content: bytes) -> str:
    """Read one input: "read" or "refused".

    Raises:
        BrokenRuleError: it took too long, too much memory, or had any other end.
    """
    path.write_bytes(content)
    _forget_peak()
    before, start = _resident("VmRSS"), time.process_time()
    try:
        reader.read(path)
        result = "read"
    except InputError as error:
        message = str(error).replace(str(path.parent), "")
        if "\n" in message or len(message) > LONGEST_MESSAGE:
            raise BrokenRuleError(f"a message of {len(message)} letters: {message[:300]!r}") from error
        result = "refused"
    except Exception as error:
        raise BrokenRuleError("".join(traceback.format_exception(error))[-3000:]) from error
    seconds, grown = time.process_time() - start, _resident("VmHWM") - before
    if seconds > MOST_SECONDS:
        raise BrokenRuleError(f"{seconds:.1f} seconds for {len(content)} bytes ({result})")
    if grown > MOST_BYTES:
        raise BrokenRuleError(f"{grown / 2**20:.0f} MiB for {len(content)} bytes ({result})")
    return result


def _forget_peak() -> None:
    """Have the system count the process's largest size anew."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _resident(kind: str) -> int:
    """Bytes of memory, now ("VmRSS") or at most ("VmHWM"); 0 where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(kind)), 0)


def fuzz(
    reader: Reader, folder: Path, *, examples: int, seconds: float = 0.0, first_seed: int = 0, each: str | None = None
) -> tuple[Counter[str], list[str]]:
    """Draw inputs of every seed of a reader and read them in child processes.

    Args:
        reader: what is tried.
        folder: for its files.
        examples: for every seed in every round.
        seconds: rounds go on for that long; 0: one round.
        first_seed: of hypothesis's choices; every round has another.
        each: name of the only seed to take.

    Returns:
        How many inputs were read and refused, and a text for every fault; its input is kept in `folder`.
    """
    counts: Counter[str] = Counter()
    faults: list[str] = []
    end, number = time.monotonic() + seconds, first_seed
    while True:
        for name, start in reader.seeds.items():
            if each is None or name == each:
                found, fault = _in_child(reader, start, folder, examples, number)
                counts.update(found)
                if fault:
                    faults.append(f"{name}, round {number}: {fault}")
        number += 1
        if time.monotonic() >= end or len(faults) > 20:
            return counts, faults


def _in_child(reader: Reader, start: Seed, folder: Path, examples: int, number: int) -> tuple[Counter[str], str]:
    """One round of one seed."""
    path = folder / reader.file
    path.parent.mkdir(parents=True, exist_ok=True)
    report = folder / "report.json"
    report.write_text("{}")
    child = os.fork()
    if child == 0:
        _silent_end(lambda: _round(reader, start, path, report, examples, number))
    status, waited, now, written = 0, 0.0, time.monotonic(), _written(path)
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        time.sleep(0.02)
        # Where this process stood still as well, the machine was given to others.
        before, now = now, time.monotonic()
        waited += min(now - before, 0.2)
        if _written(path) != written:
            waited, written = 0.0, _written(path)
        if waited > HANGS_AFTER:
            os.kill(child, signal.SIGKILL)
            status = os.waitpid(child, 0)[1]
            break
    found = json.loads(report.read_text() or "{}")
    fault = found.pop("fault", "")
    if not found.pop("ended", False) and not fault:
        fault = f"it hung for {waited:.0f} seconds" if status else "the process died (a crash in native code?)"
    if fault:
        kept = folder / f"fault-{len(list(folder.glob('fault-*')))}-{path.name}"
        kept.write_bytes((path.with_name("broken") if path.with_name("broken").exists() else path).read_bytes())
        path.with_name("broken").unlink(missing_ok=True)
        fault += f"\n(input kept as {kept})"
    return Counter(found), fault


def _written(path: Path) -> float:
    """When the input was written."""
    return path.stat().st_mtime if path.exists() else 0.0


def _silent_end(work: Callable[[], None]) -> None:
    """Do the work of a child and end it, without any of the parent's endings."""
    # What the parent left to be collected stays: a video's decoder would wait for threads that no fork takes along.
    gc.freeze()
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        work()
    finally:
        os._exit(0)


def _round(reader: Reader, start: Seed, path: Path, report: Path, examples: int, number: int) -> None:
    counts: Counter[str] = Counter()

    def write(**more: object) -> None:
        report.write_text(json.dumps({**counts, **more}))

    @seed(number)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(changes)
    def run(drawn: list[Change]) -> None:
        content = start.changed(drawn)
        try:
            counts[outcome(reader, path, content)] += 1
        except BrokenRuleError as error:
            path.with_name("broken").write_bytes(content)
            write(fault=str(error))
            raise
        if sum(counts.values()) % 50 == 0:
            write()

    try:
        run()
    except BrokenRuleError:
        return
    except BaseException as error:
        write(fault="".join(traceback.format_exception(error))[-3000:])
        return
    write(ended=True)
