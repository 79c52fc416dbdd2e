"""Ray's agents end with a driver that was killed.

A cluster of our own dies with its driver, but two agents of Ray then try for a minute to report that to a server which
died with it. A process that waits for the driver's end ends them sooner. Linux only; elsewhere they take their minute.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

GRACE = 5
"""Seconds that agents have for an end of their own."""
DONE = b"done"
WATCH = f"""
import os, signal, sys, time
if sys.stdin.buffer.read() != {DONE!r}:
    time.sleep({GRACE})
    for pid in sys.argv[1:]:
        try:
            with open("/proc/" + pid + "/cmdline", "rb") as file:
                if b"gent" in file.read():
                    os.kill(int(pid), signal.SIGKILL)
        except OSError:
            pass
"""


@contextmanager
def agents_end_with_us() -> Iterator[None]:
    """Within the block, Ray's agents below this process are ended should it be killed."""
    agents = _agents()
    if not agents:
        yield
        return
    words = [sys.executable, "-c", WATCH, *map(str, agents)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, start_new_session=True) as watcher:
        try:
            yield
        finally:
            watcher.communicate(DONE)


def _agents() -> list[int]:
    """Ids of children of our raylet that are agents, from /proc."""
    parents: dict[int, int] = {}
    commands: dict[int, bytes] = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            # The second entry, a name in brackets, may hold spaces.
            parents[int(place.name)] = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            commands[int(place.name)] = (place / "cmdline").read_bytes()
        except (OSError, ValueError, IndexError):
            continue  # it has just ended
    found = []
    for process, command in commands.items():
        above = process
        while above not in (0, os.getpid()):
            above = parents.get(above, 0)
        if above and above != process and b"gent" in command and b"raylet" in commands.get(parents[process], b""):
            found.append(process)
    return found
