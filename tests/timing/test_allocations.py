"""Peak memory: measured by counting allocations, and as the networks state it."""

import pytest
import torch

import flowzoo
from flowzoo.settings import parse_settings
from flowzoo.timing.allocations import peak_allocated


def test_the_peak_is_what_is_held_at_once() -> None:
    def call() -> None:
        first = torch.empty(1_000_000)
        second = torch.empty(500_000)
        del first
        torch.empty(750_000) + second[0]

    assert peak_allocated(call) == pytest.approx(4 * 2_000_000, rel=0.01)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("wren", ()),
        ("wren", ("cost_range=7", "flow_cues=true")),
        ("wren", ("cascade=true",)),
        ("pwcnet", ("flow_cues=true",)),
        ("liteflownetx", ("flow_cues=true",)),
        ("raft-small", ()),
    ],
)
def test_networks_say_what_they_need(name: str, words: tuple[str, ...]) -> None:
    """The others, at the size of real frames: tools/check_memory.py."""
    torch.manual_seed(0)
    network = flowzoo.create(name, **parse_settings(list(words)))
    if network.channels_last:
        network.to(memory_format=torch.channels_last)
    first, second = torch.rand(2, 1, 3, 256, 384)
    with torch.inference_mode():
        network(first[..., :64, :64], second[..., :64, :64])
        peak = peak_allocated(lambda: network(first, second))
    assert 0.75 < peak / (network.fixed_bytes + first[0, 0].numel() * network.bytes_per_pixel) < 1.25
