"""Peak memory: measured by counting allocations, and as the networks state it."""

import pytest
import torch

import flowzoo
from flowzoo.inference.memory_bound import halves_maps
from flowzoo.settings import parse_settings
from flowzoo.timing.allocations import peak_allocated


def test_the_peak_is_what_is_held_at_once() -> None:
    def call() -> None:
        first = torch.empty(1_000_000)
        second = torch.empty(500_000)
        del first
        torch.empty(750_000) + second[0]

    assert peak_allocated(call) == pytest.approx(4 * 2_000_000, rel=0.01)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("wren", ()),
        ("wren", ("cost_range=7", "flow_cues=true")),
        ("wren", ("cascade=true",)),
        ("pwcnet", ("flow_cues=true",)),
        ("pwcnet-gocor", ("cost_range=7", "gocor_iterations=1")),
        ("liteflownetx", ("flow_cues=true",)),
        ("spynet", ()),
        ("raft-small", ("iterations=2",)),
    ],
)
def test_networks_say_what_they_need(name: str, words: tuple[str, ...], precision: torch.dtype) -> None:
    """The others, at the size of real frames, and in strips: tools/check_memory.py."""
    lowered = halves_maps(torch.device("cpu"), precision)
    if precision == torch.bfloat16 and not lowered:
        pytest.skip("a processor without bfloat16")
    torch.manual_seed(0)
    network = flowzoo.create(name, **parse_settings(list(words)))
    if network.channels_last:
        network.to(memory_format=torch.channels_last)
    first, second = torch.rand(2, 1, 3, 256, 384)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=lowered):
        network(first[..., :64, :64], second[..., :64, :64])
        peak = peak_allocated(lambda: network(first, second))
    assert 0.75 < peak / network.peak_bytes(first[0, 0].numel(), lowered=lowered) < 1.25
