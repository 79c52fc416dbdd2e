"""What `flowzoo bench operators` times: every operator at the sizes that the zoo's networks meet."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from flowzoo.operators import deform, launch, native
from flowzoo.operators.registration import REGISTERED
from flowzoo.operators.warp import cpu as warp_cpu
from flowzoo.operators.warp import definition as warp_definition

SHAPES = {
    "pwc level 6": (1, 196, 7, 16, 4),
    "pwc level 5": (1, 128, 14, 32, 4),
    "pwc level 4": (1, 96, 28, 64, 4),
    "pwc level 3": (1, 64, 56, 128, 4),
    "pwc level 2": (1, 32, 112, 256, 4),
    "liteflownet2 level 6": (1, 192, 7, 16, 3),
    "liteflownet2 level 5": (1, 128, 14, 32, 3),
    "liteflownet2 level 4": (1, 96, 28, 64, 3),
    "liteflownet2 level 3": (1, 64, 28, 64, 3),
    "training level 4": (8, 96, 24, 48, 4),
    "training level 3": (8, 64, 48, 96, 4),
    "training level 2": (8, 32, 96, 192, 4),
    "512x32x32": (1, 512, 32, 32, 4),
    "256x64x64": (1, 256, 64, 64, 4),
}
"""Name -> batch, channels, height, width, radius: 1024x448 images, batches of 768x384 crops, GOCor's maps."""

ALIGNMENT_SHAPES = {
    "edvr-m level 3": (64, 45, 80),
    "edvr-m level 2": (64, 90, 160),
    "edvr-m level 1": (64, 180, 320),
}
"""Name -> channels, height, width of a deformable alignment with 8 groups and 3x3 taps: 320x180 frames."""

NAMES = (*SHAPES, *ALIGNMENT_SHAPES)
"""Every shape."""


@dataclass(frozen=True)
class Case:
    """One operator at one shape: the work it must do, and a call for each backend."""

    operator: str
    shape: str
    flops: float
    least_bytes: float
    calls: dict[str, Callable[[], object]]


def cases(device: torch.device, shapes: list[str]) -> Iterator[Case]:
    """All operators at the given shapes."""
    for name in shapes:
        if name in ALIGNMENT_SHAPES:
            yield from _alignment_cases(device, name)
            continue
        maps = _Maps.random(device, name)
        yield from _correlation_cases(maps)
        yield from _sampled_cases(maps)
        yield from _flow_cases(maps)


@dataclass(frozen=True)
class _Maps:
    """What operators take, at one of SHAPES."""

    name: str
    first: Tensor
    second: Tensor
    volume: Tensor
    flow: Tensor
    radius: int

    @classmethod
    def random(cls, device: torch.device, name: str) -> "_Maps":
        batch, channels, height, width, radius = SHAPES[name]
        generator = torch.Generator().manual_seed(0)
        first, second = (torch.randn(batch, channels, height, width, generator=generator).to(device) for _ in range(2))
        volume = torch.randn(batch, (2 * radius + 1) ** 2, height, width, generator=generator).to(device)
        coarse = 3 * torch.randn(batch, 2, 4, 8, generator=generator)
        flow = F.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=True).to(device)
        return cls(name, first, second, volume, flow, radius)

    def case(self, label: str, operator: str, arguments: tuple[object, ...], flops: float, numbers: int) -> Case:
        """A registered operator on the backends it has here. `numbers`: those read and written, each once."""
        calls = backends(operator, self.first.device)
        bound: dict[str, Callable[[], object]] = {name: partial(call, *arguments) for name, call in calls.items()}
        return Case(label, self.name, flops, 4.0 * numbers, bound)


def backends(operator: str, device: torch.device) -> dict[str, Callable[..., object]]:
    """The portable version of a registered operator, and the fast one where there is one for this device."""
    versions = REGISTERED[operator]
    calls = {"portable": versions.portable}
    if device.type == "cuda" and versions.cuda is not None and launch.available():
        calls["kernel"] = versions.cuda
    if device.type == "cpu" and versions.cpu is not None and native.library() is not None:
        calls["native"] = versions.cpu
    return calls


def _correlation_cases(maps: _Maps) -> Iterator[Case]:
    first, second, volume = maps.first, maps.second, maps.volume
    window = maps.radius, 1, 1.0 / first.shape[1]
    for operator, inputs in (
        ("correlate", (first, second)),
        ("gather", (volume, second)),
        ("scatter", (volume, first)),
    ):
        flops, numbers = 2.0 * first.numel() * volume.shape[1], 2 * first.numel() + volume.numel()
        yield maps.case(operator, operator, (*inputs, *window), flops, numbers)


def _sampled_cases(maps: _Maps) -> Iterator[Case]:
    inputs = maps.first, maps.second, maps.flow
    dots = 2.0 * maps.first.numel() * (2 * maps.radius + 2) ** 2
    blends = 9.0 * maps.first.numel() * maps.volume.shape[1]
    count, costs = sum(tensor.numel() for tensor in inputs), maps.volume.numel()
    for measure, absolute, flops in (("correlation", False, dots), ("sad", True, blends)):
        arguments = *inputs, maps.radius, 1, 1, absolute
        yield maps.case(f"sampled {measure}", "sampled_volume", arguments, flops, count + costs)
        backward = maps.volume, *arguments
        label = f"sampled {measure} backward"
        yield maps.case(label, "sampled_volume_backward", backward, 3 * flops, 2 * count + costs)


def _warp_cases(maps: _Maps, flops: float, numbers: float) -> Iterator[Case]:
    """Warping and its gradients, which is not registered: it has kernels on the CPU alone."""
    first, flow = maps.first, maps.flow
    forward: dict[str, Callable[[], object]] = {"portable": partial(warp_definition.warp, first, flow)}
    inputs = first.clone().requires_grad_(), flow.clone().requires_grad_()
    result = warp_definition.warp(*inputs)
    backward: dict[str, Callable[[], object]] = {
        "portable": partial(torch.autograd.grad, result, inputs, first, retain_graph=True)
    }
    if first.is_cpu and native.library() is not None and warp_cpu.takes(first, flow):
        forward["native"] = partial(warp_cpu.warp, first, flow)
        backward["native"] = partial(warp_cpu.gradients, first, flow, first, (True, True))
    yield Case("warp", maps.name, flops, 4.0 * numbers, forward)
    yield Case("warp backward", maps.name, 3 * flops, 8.0 * numbers, backward)


def _flow_cases(maps: _Maps) -> Iterator[Case]:
    first, volume, flow = maps.first, maps.volume, maps.flow
    flops, numbers = 8.0 * first.numel(), 2 * first.numel() + flow.numel()
    yield from _warp_cases(maps, flops, numbers)
    yield maps.case("splat", "splat", (first, flow), flops, numbers)
    flops, numbers = 2.0 * flow.numel() * volume.shape[1], 2 * flow.numel() + volume.numel()
    yield maps.case("local convolution", "gather", (volume, flow, maps.radius, 1, 1.0), flops, numbers)


def stacked_deform(features: Tensor, offset: Tensor, weight: Tensor, bias: Tensor, mask: Tensor) -> Tensor:
    """3x3 `deform` of one image as all warps in one grid_sample, then a 1x1 convolution.

    What there is without a kernel; normalised float32 coordinates, so not exact at whole numbers.
    """
    taps = weight.shape[2] * weight.shape[3]
    channels, height, width = features.shape[1:]
    groups = offset.shape[1] // (2 * taps)
    offsets = offset.view(groups, taps, 2, height, width)
    tap = torch.arange(taps, device=features.device).view(1, taps, 1, 1)
    rows, columns = (torch.arange(side, device=features.device) for side in (height, width))
    y, x = offsets[:, :, 0] + rows.view(-1, 1) + tap // 3 - 1, offsets[:, :, 1] + columns + tap % 3 - 1
    grid = torch.stack([x * (2 / (width - 1)) - 1, y * (2 / (height - 1)) - 1], dim=-1).flatten(1, 2)
    read = F.grid_sample(features.view(groups, -1, height, width), grid, align_corners=True)
    read = read.view(groups, channels // groups, taps, height, width) * mask.view(groups, 1, taps, height, width)
    return F.conv2d(read.reshape(1, channels * taps, height, width), weight.reshape(len(weight), -1, 1, 1), bias)


def _alignment_cases(device: torch.device, name: str) -> Iterator[Case]:
    """Forward, and forward with the gradients of all five tensors; with smooth offsets and with rough ones."""
    channels, height, width = ALIGNMENT_SHAPES[name]
    groups, taps = 8, 9
    generator = torch.Generator().manual_seed(0)

    def random(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator).to(device)

    features, weight, bias = random(1, channels, height, width), random(channels, channels, 3, 3) / 24, random(channels)
    mask, rough = (
        torch.sigmoid(random(1, groups * taps, height, width)),
        4 * random(1, 2 * groups * taps, height, width),
    )
    smooth = F.interpolate(2 * random(1, 2 * groups * taps, 6, 10), size=(height, width), mode="bilinear")
    incoming = random(1, channels, height, width)
    flops = 2.0 * features.numel() * channels * taps + 8.0 * features.numel() * taps
    numbers = 2 * features.numel() + weight.numel() + mask.numel() + rough.numel()
    (fast,) = [*backends("deform", device).keys() - {"portable"}] or ["portable"]
    for kind, offset in (("smooth", smooth), ("rough", rough)):
        tensors = features, offset, weight, bias, mask
        flat = features, offset, weight.flatten(2), bias, mask, 3, (1, 1), (1, 1), (1, 1), False
        calls: dict[str, Callable[[], object]] = {"stacked": partial(stacked_deform, *tensors)}
        calls |= {backend: partial(call, *flat) for backend, call in backends("deform", device).items()}
        yield Case(f"deform, {kind}", name, flops, 4.0 * numbers, calls)
        calls = {
            "stacked": partial(_with_gradients, stacked_deform, tensors, incoming),
            fast: partial(_with_gradients, partial(deform, padding=1), tensors, incoming),
        }
        yield Case(f"deform, {kind}, trained", name, 3 * flops, 12.0 * numbers, calls)


def _with_gradients(operator: Callable[..., Tensor], tensors: tuple[Tensor, ...], incoming: Tensor) -> object:
    with torch.enable_grad():
        inputs = [tensor.detach().requires_grad_() for tensor in tensors]
        return torch.autograd.grad(operator(*inputs), inputs, incoming)
