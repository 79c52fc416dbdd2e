"""Every native CPU kernel under the address and undefined-behaviour sanitizers: no access leaves its buffer."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from kernel_host import build_folder, compiler
from kernel_sanitizer import sanitizer_runtime

from flowzoo.assets import asset_folder

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
OPTIONS = ("-std=c++17", "-O1", "-g", "-shared", "-fPIC", "-march=native", "-fsanitize=address,undefined")
STRICT = ("-fno-sanitize-recover=all", "-fno-sanitize=vptr")

PROGRAM = """
import ctypes, sys
import torch
from operator_samples import SAMPLES, Sizes
from flowzoo.operators import native, native_call
from flowzoo.operators.registration import REGISTERED
import test_op_channel_doubling as doubled
import test_op_deform_kernel as deformed
import test_op_convolution_few as few
import test_op_convolution_few_inputs as few_inputs
import test_op_convolution_tiles as tiled
import test_op_warp as warped
import test_op_weighted_sums as summed
from flowzoo.operators.channel_doubling import cpu as channel_doubling
from flowzoo.operators.convolution import cpu as convolution, cpu_few_inputs, cpu_few_outputs
from flowzoo.operators.deform import cpu as deform
from flowzoo.operators.warp import cpu as warp
from flowzoo.operators.weighted_sums import cpu as weighted_sums

library = ctypes.CDLL(sys.argv[1])
native.library = lambda: library
native_call.threads_for = lambda flops: 2
torch.set_num_threads(1)
torch.set_grad_enabled(False)
for name, registered in REGISTERED.items():
    if not name.startswith(sys.argv[2]):
        continue
    for size in ((1, 1, 1), (2, 5, 7), (1, 19, 34), (1, 3, 1)):
        for arguments in SAMPLES[name](Sizes(*size)):
            registered.call(*arguments)
def maps(channels):
    return torch.randn(2, 7, 9, channels).permute(0, 3, 1, 2)

OTHERS = "few_inputs", "few_outputs", "weighted_sums", "warp", "warp_gradients", "channel_doubling", "winograd_weights"
has_winograd, has_tiles = (hasattr(library, "flowzoo_" + name) for name in ("winograd", "tile_convolution"))
assert has_winograd or has_tiles or sys.argv[2] or any(hasattr(library, "flowzoo_" + n) for n in OTHERS)
for first, second, outputs in ((32, 5, 33), (64, 41, 7)) if has_winograd else ():
    weight, bias = torch.randn(outputs, first + second, 3, 3), torch.randn(outputs)
    for dilation, side in ((1, 4), (2, 4), (1, 6), (2, 6)):
        convolution.tile_side = lambda *arguments, side=side: side
        convolution.convolution_of_two(maps(first), maps(second), weight, bias, dilation, 0.1)
        for given in (maps(first), maps(first).bfloat16()):
            convolution.convolution(given, weight[:, :first], None, dilation, 1.0)
for channels, outputs, height in ((5, 33, 7), (40, 20, 99)) if hasattr(library, "flowzoo_winograd_weights") else ():
    seen, given = (torch.randn(2, height, 22, count).permute(0, 3, 1, 2) for count in (channels, outputs))
    for kind in (torch.float32, torch.bfloat16):
        convolution.weight_gradient(seen.to(kind), given.to(kind), 2)
    if hasattr(library, "flowzoo_convolution_weights"):
        convolution.any_weight_gradient(seen, given, torch.empty(outputs, channels, 3, 3), 1, (1, 1), 1)
for case in tiled.CASES if has_tiles else ():
    maps_, weight, bias, *numbers = tiled.drawn(case)
    for given in (maps_, maps_.bfloat16()):
        for lowered in (False, True):
            convolution.tile_convolution(given, weight, bias, *numbers, 0.1, lowered=lowered)
for channels, outputs, window, padding, *sides in few.CASES if hasattr(library, "flowzoo_few_outputs") else ():
    maps_, weight, bias = few.drawn(channels, outputs, window, *sides)
    for given in (maps_, maps_.bfloat16()):
        cpu_few_outputs.convolution(given, weight, bias, padding)
for case in few_inputs.CASES if hasattr(library, "flowzoo_few_inputs") else ():
    channels, outputs, window, stride, padding, *sides = case
    maps_, weight, bias = few_inputs.drawn(channels, outputs, window, *sides)
    for given in few_inputs.layouts(maps_):
        cpu_few_inputs.convolution(given, weight, bias, stride, padding, 0.1)
for shape in summed.SHAPES if hasattr(library, "flowzoo_weighted_sums") else ():
    for axis in (2, 3):
        maps_, index, weight = summed.drawn(shape, axis)
        weighted_sums.weighted_sums(maps_, axis, index, weight)
warps = [name for name in ("warp", "warp_gradients") if hasattr(library, "flowzoo_" + name)]
for shape in warped.SHAPES if warps else ():
    features, flow = warped.drawn(shape)
    last = features.contiguous(memory_format=torch.channels_last)
    for given in (features, last, last.bfloat16()):
        if "warp" in warps:
            warp.warp(given, flow)
        if "warp_gradients" in warps:
            warp.gradients(given, flow, torch.ones_like(given), (True, True))
for shape in doubled.SHAPES if hasattr(library, "flowzoo_channel_doubling") else ():
    maps_, weight = doubled.drawn(shape)
    for lowered in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=lowered):
            channel_doubling.channel_doubling(maps_, weight)
for shape in deformed.SHAPES:
    gradient, tensors, numbers = deformed.problem(shape)
    for legacy in (False, True):
        deform.deform(*tensors, *numbers, legacy)
        deform.deform_backward(gradient, *tensors[:3], tensors[4], *numbers, legacy)
print("done")
"""


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


def run(library: Path, operators: str = "") -> subprocess.CompletedProcess[str]:
    settings = {
        "LD_PRELOAD": sanitizer_runtime(),
        "ASAN_OPTIONS": "detect_leaks=0:redzone=2048",  # what is read beyond a buffer is not another one
        "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]),
    }
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(library), operators],
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
        env={**os.environ, **settings},
    )


def test_unbroken_kernels_stay_inside_their_buffers() -> None:
    done = run(sanitized("sanitized-native"))
    assert done.returncode == 0, done.stderr[:3000]
    assert done.stdout.strip() == "done"


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
def test_a_missing_bounds_check_is_noticed(source: str, check: tuple[str, str, str], operator: str) -> None:
    done = run(sanitized(f"sanitized-native-broken-{source}", f"{source}.cpp", check), operator)
    assert done.returncode != 0
    assert "AddressSanitizer" in done.stderr, done.stderr[:3000]
