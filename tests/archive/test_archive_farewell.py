"""What a driver's cluster leaves behind is ended when the driver was killed, and only then."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

AGENT = "import time; print('up', flush=True); time.sleep(600)"
RAYLET = """
import subprocess, sys
agent = subprocess.Popen([sys.executable, "agent.py"], stdout=subprocess.PIPE)
agent.stdout.readline()  # until it runs, /proc may not have its name
print(agent.pid, flush=True)
sys.stdin.read()
"""
DRIVER = """
import subprocess, sys
from flowzoo.archive.farewell import agents_end_with_us
pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
with subprocess.Popen([sys.executable, "raylet.py"], **pipes) as raylet:
    agent = raylet.stdout.readline().strip()
    with agents_end_with_us():
        print(agent, flush=True)
        sys.stdin.readline()
    raylet.stdin.close()
"""


def runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def started(folder: Path) -> tuple[subprocess.Popen, int]:
    """The driver, and the process of its agent."""
    (folder / "agent.py").write_text(AGENT)
    (folder / "raylet.py").write_text(RAYLET)
    command = [sys.executable, "-c", DRIVER]
    driver = subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return driver, int(driver.stdout.readline())


def test_agents_end_after_a_killed_driver(tmp_path: Path) -> None:
    driver, agent = started(tmp_path)
    with driver:
        assert runs(agent)
        driver.kill()
    end = time.monotonic() + 120
    while runs(agent):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_agents_of_a_driver_that_ends_itself_are_left_to_ray(tmp_path: Path) -> None:
    driver, agent = started(tmp_path)
    try:
        driver.communicate("go on\n")
        assert driver.returncode == 0
        assert runs(agent)
    finally:
        os.kill(agent, signal.SIGKILL)
