"""Running networks on images: sizes, tiles, precision, types."""

import itertools

import numpy as np
import pytest
import torch

import flowzoo
from flowzoo.errors import InputError
from flowzoo.inference.estimator import BYTES_OF_PAIR, Estimator, Plan
from flowzoo.inference.memory_bound import default_memory, halves_maps
from flowzoo.inference.tiling import blend_tiles, plan_tiles
from flowzoo.timing.allocations import peak_allocated


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(2)
    return flowzoo.create("liteflownetx")


def images(height, width, count=2):
    rng = np.random.default_rng(5)
    return [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(count)]


def test_estimate_takes_uint8_and_gives_pixels(network):
    first, second = images(50, 71)
    flow = flowzoo.estimate(network, first, second)
    assert flow.shape == (50, 71, 2)
    assert flow.dtype == np.float32
    tensors = [torch.from_numpy(image).permute(2, 0, 1)[None] / 255 for image in (first, second)]
    with torch.inference_mode():
        expected = network(*tensors).flow[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(flow, expected, atol=1e-5)


@pytest.mark.parametrize(
    "wrong", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3), np.float32), np.zeros((0, 9, 3), np.uint8)]
)
def test_other_arrays_are_refused(wrong, network):
    with pytest.raises(InputError, match="HxWx3 uint8"):
        Estimator(network)(wrong, wrong)


@pytest.mark.parametrize("frame", [(64, 64), (64, 640), (1088, 1920), (2176, 3840), (4352, 128)])
@pytest.mark.parametrize("pixels", [1, 70_000, 600_000])
def test_tiles_cover_the_frame_and_overlap_by_a_quarter(frame, pixels):
    plan = plan_tiles(frame, 64, pixels)
    covered = np.zeros(frame, int)
    for top, left in plan.corners():
        assert top % 64 == left % 64 == 0
        covered[top : top + plan.tile[0], left : left + plan.tile[1]] += 1
        assert top + plan.tile[0] <= frame[0]
        assert left + plan.tile[1] <= frame[1]
    assert covered.min() >= 1
    assert plan.tile[0] * plan.tile[1] <= pixels or max(plan.tile) <= 256
    for starts, length in ((plan.tops, plan.tile[0]), (plan.lefts, plan.tile[1])):
        assert all(b - a <= 0.75 * length + 64 for a, b in itertools.pairwise(starts))


def test_blending_equal_tiles_gives_the_map_back():
    whole = torch.randn(1, 2, 256, 384)
    plan = plan_tiles((256, 384), 64, 40_000)
    assert plan.count > 1
    blended = blend_tiles(plan, lambda top, left, h, w: whole[..., top : top + h, left : left + w])
    torch.testing.assert_close(blended, whole)


def test_less_memory_means_strips_and_then_tiles(network):
    generous = Estimator(network, memory=4).plan(1080, 1920)
    assert generous.tiles is None
    assert generous.strip_pixels is None
    strips = Estimator(network, memory=0.8).plan(1080, 1920)
    assert strips.tiles is None
    assert strips.strip_pixels is not None
    tiles = Estimator(network, memory=0.2).plan(1080, 1920)
    assert tiles.tiles is not None
    assert tiles.tiles.count > 1


def test_strips_change_nothing_and_tiles_give_flow_of_the_frame(network, monkeypatch):
    monkeypatch.setattr(network, "pixels_of_strip", 0)  # so that small frames are worth it
    first, second = images(300, 420)
    whole = Estimator(network)(first, second).flow
    pixels = 320 * 448
    strips = Estimator(network, memory=(network.peak_bytes(pixels, strips=True) + BYTES_OF_PAIR * pixels) / 1e9)
    assert strips.plan(300, 420).strip_pixels is not None
    np.testing.assert_allclose(strips(first, second).flow, whole, atol=1e-3)
    tiled = Estimator(network, memory=0.03)
    assert tiled.plan(300, 420).tiles is not None
    assert tiled(first, second).flow.shape == whole.shape


def test_bfloat16_is_cut_later(network):
    """Its maps take half the memory, on processors that have it."""
    memory = 640 * 1088 * (network.lowered_bytes_per_pixel + BYTES_OF_PAIR) / 1e9
    assert Estimator(network, memory=memory).plan(640, 1088) != Plan()
    if not halves_maps(network.device, torch.bfloat16):
        pytest.skip("a processor without bfloat16")
    assert Estimator(network, torch.bfloat16, memory=memory).plan(640, 1088) == Plan()


def test_tiles_leave_room_for_their_frame(network):
    """The pair, the pair at the tiles' grid, and what is blended."""
    estimator = Estimator(network, memory=0.045)
    assert estimator.plan(380, 500).tiles is not None
    first, second = images(380, 500)
    assert peak_allocated(lambda: estimator(first, second)) < 1.2 * 0.045e9


def test_freed_memory_is_given_back_before_what_fills_the_bound(network, monkeypatch):
    calls = []
    monkeypatch.setattr("flowzoo.inference.estimator.give_back", lambda: calls.append(1))
    first, second = images(64, 96)
    needed = (network.bytes_per_pixel + BYTES_OF_PAIR) * 64 * 96 / 1e9
    Estimator(network, memory=4 * needed)(first, second)
    assert not calls
    Estimator(network, memory=1.5 * needed)(first, second)
    assert calls == [1]


def test_batches_backward_and_occlusion(network):
    first, second = images(64, 96)
    estimator = Estimator(network, backward=True, occlusion=True)
    results = estimator.batch([first, second], [second, first])
    np.testing.assert_allclose(results[0].backward, results[1].flow, atol=1e-4)
    assert results[0].occlusion.dtype == bool
    assert results[0].occlusion.shape == (64, 96)


def test_bfloat16_stays_close_and_flow_stays_float32(network):
    first, second = images(64, 96)
    exact, rough = Estimator(network)(first, second).flow, Estimator(network, torch.bfloat16)(first, second).flow
    assert rough.dtype == np.float32
    assert not np.array_equal(exact, rough)
    assert np.abs(exact - rough).mean() < 0.1 * np.abs(exact).max()


@pytest.mark.parametrize("memory", [None, 0.04, 0.013, 0.006])
def test_the_batch_does_not_change_the_flow(memory, network, monkeypatch):
    """Whole frames all at once, whole frames in parts, strips, tiles."""
    monkeypatch.setattr(network, "pixels_of_strip", 0)
    firsts = images(130, 200, 5)
    seconds = firsts[1:] + firsts[:1]
    estimator = Estimator(network, memory=memory)
    single = [estimator(*pair).flow for pair in zip(firsts, seconds, strict=True)]
    for count in (2, 5):
        found = [estimate.flow for estimate in estimator.batch(firsts[:count], seconds[:count])]
        np.testing.assert_allclose(found, single[:count], atol=1e-4)


def test_parts_of_a_batch_fit_the_memory(network, monkeypatch):
    sizes = []
    predict = network.predict
    monkeypatch.setattr(network, "predict", lambda first, second: (sizes.append(len(first)), predict(first, second))[1])
    pair_bytes = network.bytes_per_pixel * 64 * 96
    estimator = Estimator(network, memory=2.5 * pair_bytes / 1e9)
    assert estimator.pairs_at_once(64, 96) == 2
    frames = images(64, 96, 5)
    estimator.batch(frames, frames)
    assert sizes == [2, 2, 1]


def test_a_gpus_bound_comes_from_its_free_memory(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10_000_000_000, 24_000_000_000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 3_000_000_000)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 1_000_000_000)
    assert default_memory(torch.device("cuda")) == pytest.approx(0.8 * 12)
    assert default_memory(torch.device("cpu")) == 4


def test_memory_must_be_above_zero(network):
    with pytest.raises(InputError, match="memory must be above 0"):
        Estimator(network, memory=0)
