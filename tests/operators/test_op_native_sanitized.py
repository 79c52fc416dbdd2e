"""Every native CPU kernel under the address and undefined-behaviour sanitizers: no access leaves its buffer."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from kernel_host import build_folder, compiler
from kernel_sanitizer import sanitizer_runtime

from flowzoo.assets import asset_folder

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
OPTIONS = ("-std=c++17", "-O1", "-g", "-shared", "-fPIC", "-march=native", "-fsanitize=address,undefined")
STRICT = ("-fno-sanitize-recover=all", "-fno-sanitize=vptr")

PROGRAM = HERE / "host" / "run_native_sanitized.py"


def sanitized(name: str, files: str = "*.cpp", replaced: tuple[str, str, str] | None = None) -> Path:
    """The library built with sanitizers, one piece of one file's text `replaced` (file, from, to)."""
    folder = build_folder() / name
    folder.mkdir()
    for path in asset_folder("kernels").iterdir():
        text = path.read_text()
        if replaced and path.name == replaced[0]:
            assert text.count(replaced[1]) == 1, f"{replaced[1]!r} must occur once in {path.name}"
            text = text.replace(*replaced[1:])
        (folder / path.name).write_text(text)
    target = folder / "library.so"
    sources = sorted(map(str, folder.glob(files)))
    command = [compiler(), *OPTIONS, *STRICT, *sources, "-pthread", "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stderr
    return target


class Sanitizers:
    """A process that has imported everything under the sanitizers' runtime and forks for every library."""

    def __init__(self, printed: Path) -> None:
        self.printed = printed
        self.process: subprocess.Popen[str] | None = None

    def run(self, library: Path, operators: str = "") -> tuple[int, str]:
        """Exit status, and what was written to standard error."""
        self.process = self.process or self._started()
        pipes = self.process.stdin, self.process.stdout
        assert pipes[0] is not None
        assert pipes[1] is not None
        print(json.dumps([str(library), operators, str(self.printed)]), file=pipes[0], flush=True)
        return int(pipes[1].readline()), self.printed.read_text()

    def _started(self) -> "subprocess.Popen[str]":
        settings = {
            "LD_PRELOAD": sanitizer_runtime(),
            "ASAN_OPTIONS": "detect_leaks=0:redzone=2048",  # what is read beyond a buffer is not another one
            "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]),
        }
        command, pipe = [sys.executable, str(PROGRAM)], subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env={**os.environ, **settings})

    def end(self) -> None:
        """Wait until the process has gone."""
        if self.process is not None:
            self.process.communicate()


@pytest.fixture(scope="module")
def sanitizers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sanitizers]:
    started = Sanitizers(tmp_path_factory.mktemp("sanitizers") / "printed")
    yield started
    started.end()


def test_unbroken_kernels_stay_inside_their_buffers(sanitizers: Sanitizers) -> None:
    status, printed = sanitizers.run(sanitized("sanitized-native"))
    assert status == 0, printed[:3000]


@pytest.mark.parametrize(
    ("source", "check", "operator"),
    [
        ("deform", ("deform_places.h", "& (top < height) &", "&"), "deform"),
        ("variational", ("variational_rows.h", " & (row < rows)", ""), "variational_data"),
        ("boundary_median", ("boundary_median.cpp", "x >= 0 && x + kLanes <= width", "x >= 0"), "boundary_median"),
        (
            "decoder_input",
            ("decoder_input.cpp", "count < kWideLanes || part.channels - first < kWideLanes", "count < kWideLanes"),
            "decoder_input",
        ),
        (
            "paired_planes",
            ("paired_planes.cpp", "count < kWideLanes || wanted < kWideLanes", "count < kWideLanes"),
            "paired_planes",
        ),
        ("density_reading", ("density_reading.cpp", "count == kWideLanes && bin_step", "bin_step"), "density_reading"),
        ("winograd", ("winograd.cpp", "(c + before - input.split)", "c + before"), "none"),
        ("winograd_weights", ("winograd_weights.cpp", "(parts - 1) * numbers", "numbers"), "none"),
        ("tile_convolution", ("tile_convolution.cpp", "y < 0 || y >= of.height", "y < 0"), "none"),
        ("few_inputs", ("few_inputs.cpp", "y < 0 || y >= of.height", "y < 0"), "none"),
        ("few_outputs", ("few_outputs.cpp", "seen < first || seen >= last", "seen >= last"), "none"),
        ("weighted_sums", ("weighted_sums.cpp", "std::min(kColumns, width - x)", "kColumns"), "none"),
        ("warp", ("warp_places.h", "std::max<int64_t>(first + i, 0), size - 1", "first + i, size - 1"), "none"),
        ("warp_gradients", ("warp_gradients.cpp", "std::min(block, of.channels - first)", "block"), "none"),
        ("channel_doubling", ("channel_doubling.cpp", "other >= 0 && other < height", "other < height"), "none"),
        ("image_terms", ("image_terms.cpp", "y + 1 < height", "y < height"), "contrasts"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_missing_bounds_check_is_noticed(
    source: str, check: tuple[str, str, str], operator: str, sanitizers: Sanitizers
) -> None:
    library = sanitized(f"sanitized-native-broken-{source}", f"{source}.cpp", check)
    status, printed = sanitizers.run(library, operator)
    assert status != 0
    assert "AddressSanitizer" in printed, printed[:3000]
