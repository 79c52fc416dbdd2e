"""Every CUDA kernel compiles for every supported architecture, without spills and within its register budget."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from kernel_compile import ARCHITECTURES, Usage, compile_source, nvrtc_of_budgets
from kernel_host import kernel_names

from flowzoo.operators.correlation import cuda as correlation_cuda
from flowzoo.operators.launch import MOST_SHARED, source_text

REGISTERS = 128
"""Budget of a kernel: two blocks of 256 threads fill the register file of every supported device."""

MORE_REGISTERS = {"convex_upsampling_backward": 168, "difference_to_second": 168}
"""Of kernels whose blocks have 128 threads: three of them still fit."""

# The radii of the zoo's networks (4 and 3) on every architecture; the rest on one.
COMMON = [
    *(("correlation.cu", {"GROUP": 9, "STORAGE": storage}) for storage in (0, 1, 2)),
    ("correlation.cu", {"GROUP": 7, "STORAGE": 0}),
    *(("sampled_volume.cu", {"SIDE": 9, "FIXED": 0, "STORAGE": storage}) for storage in (0, 2)),
    ("sampled_volume.cu", {"SIDE": 9, "FIXED": 1, "STORAGE": 0}),
    *(("sampled_gradient.cu", {"SIDE": 9, "FIXED": 0, "STORAGE": storage}) for storage in (0, 2)),
    ("sampled_gradient.cu", {"SIDE": 9, "FIXED": 1, "STORAGE": 0}),
    *(("sampled_difference_gradient.cu", {"SIDE": 9, "FIXED": fixed, "STORAGE": 0}) for fixed in (0, 1)),
    ("splat.cu", {"FIXED": 0, "STORAGE": 0}),
    ("splat.cu", {"FIXED": 1, "STORAGE": 1}),
    *((source, {"STORAGE": 0}) for source in ("relaxation.cu", "variational.cu", "boundary_median.cu")),
    ("convex_upsampling.cu", {"STORAGE": 0}),
]
OTHER = [
    *(("correlation.cu", {"GROUP": group, "STORAGE": 0}) for group in (1, 2, 3, 4, 5, 6, 8)),
    ("correlation.cu", {"GROUP": 7, "STORAGE": 2}),
    *(("correlation.cu", {"GROUP": group, "ROWS": -(-group // 3), "STORAGE": 0}) for group in (3, 7, 9)),
    *(("sampled_volume.cu", {"SIDE": side, "FIXED": 0, "STORAGE": 0}) for side in (1, 3, 5, 7, 15)),
    ("sampled_volume.cu", {"SIDE": 9, "FIXED": 1, "STORAGE": 1}),
    *(("sampled_gradient.cu", {"SIDE": side, "FIXED": 0, "STORAGE": 0}) for side in (1, 3, 5, 7, 11)),
    *(("sampled_difference_gradient.cu", {"SIDE": side, "FIXED": 0, "STORAGE": 0}) for side in (1, 3, 5, 7, 11)),
    ("sampled_difference_gradient.cu", {"SIDE": 9, "FIXED": 0, "STORAGE": 2}),
    ("splat.cu", {"FIXED": 0, "STORAGE": 2}),
    *(("convex_upsampling.cu", {"STORAGE": storage}) for storage in (1, 2)),
]


def check(source: str, defines: dict[str, int], architecture: int) -> list[str]:
    """What is wrong with one variant, as lines."""
    usages = compile_source(source_text(source), defines, architecture)
    problems = [] if set(usages) == set(kernel_names(source_text(source))) else [f"{source}: kernels {sorted(usages)}"]
    for kernel, usage in usages.items():
        registers = MORE_REGISTERS.get(kernel, REGISTERS)
        if usage.spilled_bytes or usage.registers > registers or usage.shared_bytes > MOST_SHARED:
            problems.append(f"{source} {defines} sm_{architecture} {kernel}: {usage}")
    return problems


def check_all(variants: list[tuple[str, dict[str, int], int]]) -> None:
    nvrtc_of_budgets()  # skips here rather than in a thread
    with ThreadPoolExecutor(2) as pool:
        problems = [line for lines in pool.map(lambda variant: check(*variant), variants) for line in lines]
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_compiles_without_spills(architecture: int) -> None:
    check_all([(source, defines, architecture) for source, defines in COMMON])


def test_less_common_variants_compile() -> None:
    check_all([(source, defines, 90) for source, defines in OTHER])


def test_groups_cover_every_radius() -> None:
    """The launcher asks only for group sizes that are compiled above, and they cover the window."""
    compiled = {defines["GROUP"] for source, defines in COMMON + OTHER if source == "correlation.cu"}
    for radius in range(40):
        group, side = correlation_cuda.group_size(radius), 2 * radius + 1
        assert group in compiled
        assert -(-side // group) == -(-side // correlation_cuda.MOST_GROUP)


def test_a_spill_would_be_noticed() -> None:
    """More live values than registers: the report that the tests above read must show it."""
    source = """extern "C" __global__ void __launch_bounds__(1024, 2) greedy(float* data) {
        float values[200];
        #pragma unroll
        for (int i = 0; i < 200; ++i) values[i] = data[i * 1024 + threadIdx.x];
        __syncthreads();
        #pragma unroll
        for (int i = 0; i < 200; ++i) data[i * 1024 + threadIdx.x] = values[199 - i] * values[(i * 7) % 200];
    }"""
    usage = compile_source(source, {}, 90)["greedy"]
    assert isinstance(usage, Usage)
    assert usage.spilled_bytes > 0
    assert usage.registers <= 32
