"""Devices by the words that a user types."""

import pytest
import torch

from flowzoo.devices import pick_device
from flowzoo.errors import InputError


@pytest.fixture(params=["cuda", "mps", "xpu"])
def kind(request, monkeypatch) -> str:
    """A machine with two devices of this kind and no other accelerator."""
    for name in ("cuda", "mps", "xpu"):
        monkeypatch.setattr(getattr(torch, name), "is_available", lambda name=name: name == request.param)
        monkeypatch.setattr(getattr(torch, name), "device_count", lambda name=name: 2 * (name == request.param))
    return request.param


def test_devices_that_are_there_are_taken(kind):
    assert pick_device(kind) == torch.device(kind)
    assert pick_device(f"{kind}:1") == torch.device(kind, 1)
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type == ("cuda" if kind == "cuda" else "cpu")


def test_devices_that_are_not_there_are_one_line(kind):
    for name in {"cuda", "mps", "xpu"} - {kind}:
        with pytest.raises(InputError, match=f"--device {name}: this machine has no {name.upper()} device"):
            pick_device(name)
    with pytest.raises(InputError, match=f"only 2 {kind.upper()} devices"):
        pick_device(f"{kind}:2")


@pytest.mark.parametrize("text", ["gpu", "cuda:", "cuda:x", "cuda:²", "cpu:0", "mps:-1", ""])
def test_other_words_are_refused(text):
    with pytest.raises(InputError, match="cannot be"):
        pick_device(text)
