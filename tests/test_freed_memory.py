"""Freed memory stays with the processes of commands and of estimators, and with no others."""

import os
import platform
import subprocess
import sys

import pytest

import flowzoo.freed_memory
from flowzoo.cli import main
from flowzoo.inference.estimator import Estimator

CHOICES = "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"
PROGRAM = """
import ctypes, resource, sys
from flowzoo.freed_memory import keep_freed_memory

library = ctypes.CDLL(None)
library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
library.free.argtypes = [ctypes.c_void_p]
library.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]

size, count = int(sys.argv[1]) << 20, int(sys.argv[2])

def use():
    blocks = [library.malloc(size) for _ in range(count)]
    for block in blocks:
        library.memset(block, 1, size)
    for block in blocks:
        library.free(block)

kept = keep_freed_memory()
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    use()
print(int(kept), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


GIVEN_BACK = (
    PROGRAM[: PROGRAM.index("before =")]
    + """
from flowzoo.freed_memory import give_back

def resident():
    return int(open("/proc/self/statm").read().split()[1])

full = resident()
give_back()
print(int(kept), full - resident())
"""
)


def answer(megabytes=30, count=4, program=PROGRAM, **environment):
    clean = {name: value for name, value in os.environ.items() if name not in CHOICES}
    command = [sys.executable, "-c", program, str(megabytes), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**clean, **environment})
    kept, faults = map(int, done.stdout.split())
    return bool(kept), faults


@pytest.mark.parametrize(("megabytes", "count"), [(30, 4), (120, 1)])
def test_blocks_that_were_freed_are_used_again(megabytes, count):
    library, version = platform.libc_ver()
    if megabytes > 32 and (library != "glibc" or tuple(map(int, version.split("."))) < (2, 35)):
        pytest.skip("a C library that keeps no such blocks")
    kept, faults = answer(megabytes, count)
    if not kept:
        pytest.skip("a C library without this setting")
    assert faults < 200  # else one for each of 30,720 pages, or of 60 huge ones, in every round


def test_what_is_kept_can_be_given_back():
    if not sys.platform.startswith("linux"):
        pytest.skip("no /proc")
    kept, pages = answer(program=GIVEN_BACK)
    if not kept:
        pytest.skip("a C library without this setting")
    assert pages * os.sysconf("SC_PAGE_SIZE") > 100 << 20  # of 120 MB


@pytest.mark.parametrize("choice", CHOICES)
def test_the_environments_settings_stay(choice):
    value = "glibc.malloc.perturb=0" if choice == "GLIBC_TUNABLES" else "65536"
    assert answer(**{choice: value})[0] is False


def test_only_a_commands_own_process_is_changed(monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(flowzoo.freed_memory, "keep_freed_memory", lambda: calls.append(1))
    assert main(["models", "pwcnet"]) == 0
    assert not calls
    monkeypatch.setattr(sys, "argv", ["flowzoo", "models", "pwcnet"])
    assert main() == 0
    assert calls == [1]


@pytest.mark.parametrize("keep", [True, False])
def test_an_estimator_asks_for_it_unless_told_not_to(keep, monkeypatch):
    calls = []
    monkeypatch.setattr("flowzoo.inference.estimator.keep_freed_memory", lambda: calls.append(1))
    Estimator(flowzoo.create("spynet"), keep_memory=keep)
    assert len(calls) == keep
