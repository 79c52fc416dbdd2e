"""An archive on Ray, with actors, drivers and videos that die. Asked for by FLOWZOO_TEST_RAY=1: it takes minutes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from archive_samples import contents, make_archive, make_video

from flowzoo.archive import Job, Worker, infer, plan
from flowzoo.archive.ray_engine import RayEngine, _Actor

COUNT = 20
WAIT = 1500
"""Seconds within which a step must be done, on a busy machine, too."""
asked_for = pytest.mark.skipif(os.environ.get("FLOWZOO_TEST_RAY") != "1", reason="takes minutes: FLOWZOO_TEST_RAY=1")


def processes(*words):
    """Ids of processes whose command line has one of these words."""
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            try:
                command = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if any(word in command for word in words):
                found.append(int(place.name))
    return found


@pytest.fixture
def few(tmp_path):
    """Three videos."""
    return make_archive(tmp_path / "few", 3)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Twenty videos, one of them cut; and what one process makes of them."""
    folder = tmp_path_factory.mktemp("ray")
    videos = make_archive(folder / "videos", COUNT - 1, 12)
    whole = make_video(folder / "whole.mp4", 99, 8).read_bytes()
    (videos / "broken.mp4").write_bytes(whole[: len(whole) // 2])
    summary = infer(videos, folder / "right", format="flo", continue_on_error=True, threads=1)
    assert (summary.done, summary.failed) == (COUNT - 1, 1)
    return folder


def driver(samples, out):
    """A driver in a process of its own, in a group of its own, and what it says."""
    command = [sys.executable, "-m", "flowzoo", "infer", str(samples / "videos"), "-o", str(out), "--format", "flo"]
    command += ["--engine", "ray", "--workers", "2", "--continue-on-error", "--skip-existing"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with (samples / f"{out.name}.log").open("w") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)


def wait_for(condition, seconds, what):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def results(out):
    return len(list(out.rglob("records/**/*.json"))) if out.exists() else 0


def raylets():
    return processes("raylet", "gcs_server", "ray::", "default_worker.py")


def test_an_actor_is_a_worker_with_columns(few, tmp_path):
    columns = {"path": [str(few / "clip_1.mp4")], "key": ["k"], "name": ["n"]}
    job = Job(str(tmp_path / "out"), "wren", "wren", format="flo")
    assert _Actor(job)(columns)["status"] == ["done"]
    infer(few / "clip_1.mp4", tmp_path / "right", format="flo")
    assert contents(tmp_path / "out")["n/000000.flo"] == contents(tmp_path / "right")["clip_1/000000.flo"]


@asked_for
def test_a_killed_actor_changes_nothing(samples, tmp_path):
    before = set(raylets())
    out = tmp_path / "out"
    process = driver(samples, out)
    log = samples / "out.log"
    wait_for(lambda: results(out) >= 2, WAIT, log.read_text())
    actors = processes("MapWorker", "_Actor")
    assert actors, log.read_text()
    os.kill(actors[0], signal.SIGKILL)
    assert process.wait(WAIT) == 0, log.read_text()
    assert contents(out) == contents(samples / "right")
    wait_for(lambda: not set(raylets()) - before, 60, "processes of Ray are left")


@asked_for
def test_a_killed_driver_is_gone_on_with(samples, tmp_path):
    before = set(raylets())
    out = tmp_path / "again"
    process = driver(samples, out)
    log = samples / "again.log"
    wait_for(lambda: results(out) >= 3, WAIT, log.read_text())
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_for(lambda: not set(raylets()) - before, 60, "processes of Ray outlive their driver")
    some = results(out)
    assert 3 <= some < COUNT - 1
    process = driver(samples, out)
    assert process.wait(WAIT) == 0, log.read_text()
    assert contents(out) == contents(samples / "right")
    assert "there already" in log.read_text()
    wait_for(lambda: not set(raylets()) - before, 60, "processes of Ray are left")


@asked_for
def test_the_drivers_memory_does_not_grow_with_the_flow(samples, tmp_path):
    """Thirty times the flow takes the driver no more memory."""
    peaks = []
    for name, frames in (("short", 3), ("long", 90)):
        videos = tmp_path / name
        for index in range(3):
            make_video(videos / f"{index}.mp4", index, frames)
        places = f"{str(videos)!r}, {str(tmp_path / (name + '-out'))!r}"
        code = (
            "import sys, resource, flowzoo.archive\n"
            f"s = flowzoo.archive.infer({places}, format='flo', engine='ray', workers=2)\n"
            "assert s.done == 3, s\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout.splitlines()[-1]))
    assert peaks[1] < 1.1 * peaks[0] + 20_000


def test_the_engine_reports_videos_that_no_worker_survived(few, tmp_path, monkeypatch):
    """With a stand-in for Ray that loses one of the rows."""

    class Rows(list):
        def map_batches(self, actor, fn_constructor_args, **options):
            assert options["max_restarts"] == options["max_task_retries"] == 2
            make = actor(*fn_constructor_args)
            self.found = [make({name: [value] for name, value in row.items()}) for row in self[1:]]
            return self

        def iter_rows(self):
            return iter([{name: values[0] for name, values in row.items()} for row in self.found])

    class Stand:
        class data:  # noqa: N801
            class DataContext:
                @staticmethod
                def get_current():
                    return Stand

            from_items = staticmethod(lambda rows, override_num_blocks: Rows(rows))
            ActorPoolStrategy = staticmethod(lambda size: size)

        is_initialized = staticmethod(lambda: True)

    monkeypatch.setattr("flowzoo.archive.ray_engine.ray_module", lambda: Stand)
    planned = plan(few, tmp_path / "out", format="flo", pattern="clip_[12].mp4", continue_on_error=True)
    summary = planned(RayEngine(retries=2), say=lambda line: None)
    assert (summary.done, summary.failed) == (1, 1)
    assert "or died 3 times" in summary.failures.read_text()
    assert isinstance(Worker(planned.job).digest(), str)
