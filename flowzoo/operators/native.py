"""Builds and loads the C++ kernels of the CPU: on first use, cached, and never in anybody's way.

The library is compiled for this very processor, so the cache key holds the sources, the flags, the compiler and the
processor's features: a home directory shared between machines is safe. A library runs only where its folder and file
can be changed by this user and root alone, and while it has the size and hash it was built with. Any failure means the
portable operators are used, and one log line (logger "flowzoo", level INFO) says why. FLOWZOO_NATIVE=0 turns the
kernels off.
"""

import atexit
import ctypes
import functools
import hashlib
import logging
import os
import platform
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from flowzoo import cache
from flowzoo.assets import asset_folder
from flowzoo.cache import Kept
from flowzoo.errors import InputError

_SUFFIXES = ".cpp", ".h"
_FLAGS = ("-std=c++17", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-fPIC", "-fvisibility=hidden", "-pthread")
_BUILD_SECONDS = 180
_MOST_COMPILERS = 8  # at once: each may take half a gigabyte
_FUNCTION = re.compile(r'^(?:API|extern "C" .*) (?:int|void) (flowzoo_\w+)\(', re.MULTILINE)

_LOG = logging.getLogger("flowzoo")
_patience = {"waits": True}


class _BuildError(Exception):
    """Why there is no library, in one line."""


def switched_on() -> bool:
    """Whether FLOWZOO_NATIVE allows the kernels."""
    return os.environ.get("FLOWZOO_NATIVE", "1").lower() not in ("0", "false", "no", "off")


def build_for_next_time() -> None:
    """From now on this process does not wait for a build: a missing library is built when it has ended.

    For commands that are over sooner than the compiler.
    """
    _patience["waits"] = False


def library() -> ctypes.CDLL | None:
    """The loaded kernels, built if need be; None where they are switched off or cannot be had."""
    return _load() if switched_on() else None


@functools.cache
def _load() -> ctypes.CDLL | None:
    try:
        kernels = _loaded_or_built()
        _share_threads(kernels)
        return kernels
    except (OSError, RuntimeError, InputError, _BuildError, subprocess.SubprocessError) as error:
        reason = " ".join(str(error).split())[:300]
        _LOG.info("the CPU kernels are not available (%s); using the portable operators", reason)
        return None


def _share_threads(kernels: ctypes.CDLL) -> None:
    """Have the kernels use the threads of torch's own OpenMP runtime, where that is GNU's and can be found."""
    mapped = Path("/proc/self/maps")
    lines = mapped.read_text(errors="replace").splitlines() if mapped.is_file() else []
    runtimes = {line.split(maxsplit=5)[-1] for line in lines if "/libgomp" in line}
    if len(runtimes) == 1:
        with suppress(OSError, AttributeError):  # then the kernels start threads of their own
            parallel = ctypes.CDLL(runtimes.pop()).GOMP_parallel
            kernels.flowzoo_use_openmp(ctypes.cast(parallel, ctypes.c_void_p))


def _loaded_or_built() -> ctypes.CDLL:
    compiler = _compiler()
    sources = {path.name: path for path in sorted(asset_folder("kernels").iterdir()) if path.suffix in _SUFFIXES}
    name = f"operators-{_key(compiler, sources)}"
    for folder in cache.private_folders("native"):
        kept = Kept(folder / f"{name}.so", folder / f"{name}.json")
        if _trusted(kept):
            return _opened(kept.path, sources)
        if not _patience["waits"]:
            if os.access(folder, os.W_OK):
                break
            continue
        with suppress(InputError), cache.locked(folder):  # the next place, where this one cannot be written
            if not _trusted(kept):  # another process may have built it meanwhile
                cache.remove_leftovers(folder)
                _build(compiler, sources, kept)
            return _opened(kept.path, sources)
    if not _patience["waits"]:
        atexit.register(_build_elsewhere)
        raise _BuildError("they will be built for the next run")
    raise _BuildError("no folder to keep them in: FLOWZOO_CACHE may name one")


def _trusted(kept: Kept) -> bool:
    """Whether a library is there, ours alone, and what was built."""
    return kept.path.is_file() and cache.only_ours(kept.path) and kept.intact()


def _opened(path: Path, sources: dict[str, Path]) -> ctypes.CDLL:
    """The library, which must have every function of the sources."""
    kernels = ctypes.CDLL(str(path))
    declared = {name for source in sources.values() for name in _FUNCTION.findall(source.read_text())}
    missing = sorted(name for name in declared if not hasattr(kernels, name))
    if missing:
        raise _BuildError(f"{path} lacks {missing[0]}: the compiler did not do its work")
    return kernels


def _build_elsewhere() -> None:
    """Start a process that builds the library and outlives this one."""
    subprocess.Popen(
        [sys.executable, "-m", "flowzoo.operators.native"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _compiler() -> str:
    if sys.platform == "win32":
        raise _BuildError("there is no build for Windows")
    for name in (os.environ.get("CXX", "").split(" ")[0], "c++", "g++", "clang++"):
        if name and (found := shutil.which(name)):
            return found
    raise _BuildError("no C++ compiler found")


def _key(compiler: str, sources: dict[str, Path]) -> str:
    version = subprocess.run([compiler, "--version"], capture_output=True, timeout=30, check=False).stdout
    digest = hashlib.sha256()
    for part in (version, " ".join(_FLAGS).encode(), processor_features().encode()):
        digest.update(part + b"\0")
    for name, path in sorted(sources.items()):
        digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:24]


def processor_features() -> str:
    """What `-march=native` depends on: machine, processor and, on Linux, its feature flags."""
    features = [platform.machine(), platform.processor(), platform.libc_ver()[1]]
    information = Path("/proc/cpuinfo")
    if information.is_file():
        wanted = ("model name", "flags", "Features", "CPU part", "CPU implementer")
        lines = information.read_text(errors="replace").splitlines()
        features += sorted({line for line in lines if line.startswith(wanted)})
    return "\n".join(features)


def _build(compiler: str, sources: dict[str, Path], kept: Kept) -> None:
    """Compile, file by file at once, and put the library into its place only when that has worked."""
    files = [path for path in sources.values() if path.suffix == ".cpp"]
    tuning: tuple[list[str], ...] = (["-march=native"], ["-mcpu=native"], [])
    with kept.replacing() as target, ThreadPoolExecutor(min(os.cpu_count() or 1, _MOST_COMPILERS)) as pool:
        objects = [str(target.parent / f"{path.stem}.o") for path in files]
        for options in tuning:
            compiles = [
                [compiler, *_FLAGS, *options, "-c", str(path), "-o", made]
                for path, made in zip(files, objects, strict=True)
            ]
            failure = next(filter(None, pool.map(_failure, compiles)), None)
            failure = failure or _failure([compiler, "-shared", *objects, "-pthread", "-o", str(target)])
            if failure is None:
                target.chmod(0o755)  # whatever the umask: what others may write is not loaded
                return
        raise _BuildError(f"{compiler} failed: {failure}")


def _failure(command: list[str]) -> str | None:
    """What a command says that fails."""
    done = subprocess.run(command, capture_output=True, timeout=_BUILD_SECONDS, check=False, stdin=subprocess.DEVNULL)
    return None if done.returncode == 0 else done.stderr.decode(errors="replace") or f"exit status {done.returncode}"


if __name__ == "__main__":
    library()
