"""What each part of "Improving Optical Flow on a Pyramid Level" does to a small network, on a CPU.

    python tools/ablate_pyramid_level.py -o runs/pyramid-level --document docs/pyramid-level.md

trains a small network with PWC-Net's parts (pyramid, warping, cost volume; the decoder of wren, which the levels share)
on synthetic pairs, each row of the table with one more part than the row above, from the same seeds, and writes
table.md and curves.svg. Finished runs are kept: start it again to go on. With two free cores the whole takes less than
half an hour.
"""

import argparse
import json
import math
import multiprocessing
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowzoo import registry
from flowzoo.files.atomic import replacing
from flowzoo.losses.penalties import charbonnier
from flowzoo.losses.pooled_multiscale import PooledMultiscaleLoss
from flowzoo.network import FlowNetwork, FlowPrediction
from flowzoo.synthetic import SceneSettings, SyntheticPairs

NETWORK: dict[str, Any] = {
    "channels": (12, 20, 32, 40, 48, 48),
    "width": 48,
    "iterations": (1, 1, 1, 1, 1),
    "normalisation": "channel",
    "upsampling": "bilinear",
    "stop_flow_gradient": False,
    "refinement": "none",
}
# Objects over a background, small motion, and nothing that changes how they look.
SCENES = SceneSettings(
    objects=(1, 4),
    foreground=0.0,
    motion=0.35,
    calm=0.0,
    low_texture=0.0,
    defocus=0.0,
    motion_blur=0.0,
    frame_blur=0.0,
    haze=0.0,
    shadow=0.0,
    brightness=0.0,
    noise=0.0,
)
STOP: dict[str, Any] = {"stop_flow_gradient": True}
SAMPLE = STOP | {"cost_volume": "sample"}
SAD = STOP | {"cost_volume": "sample-sad"}
# Name -> settings of the network, and the share of the pixels that the loss keeps.
VARIANTS: dict[str, tuple[dict[str, Any], float]] = {
    "baseline": ({}, 1.0),
    "+ gradient stopping": (STOP, 1.0),
    "+ sampling": (SAMPLE, 1.0),
    "+ SAD": (SAD, 1.0),
    "+ loss max-pooling": (SAD, 0.5),
    "+ flow cues": (SAD | {"flow_cues": True}, 0.5),
}
WEIGHTS = (0.25, 0.25, 0.25, 0.3, 0.4)  # 1/64 ... 1/4, as the recipe of the weights that ship
COLOURS = ("#444444", "#1b7837", "#2166ac", "#762a83", "#b35806", "#c51b7d")
START, END = "<!-- ablation: written by tools/ablate_pyramid_level.py -->", "<!-- end of ablation -->"


@dataclass(frozen=True)
class Plan:
    """What all runs share; a result of another plan is not used."""

    steps: int = 1200
    batch: int = 6
    learning_rate: float = 1e-3
    pairs: int = 500
    held_out: int = 48
    height: int = 128
    width: int = 128
    every: int = 100


@dataclass
class Data:
    """Rendered pairs: images (N,3,H,W) uint8, flow (N,2,H,W) pixels, valid (N,H,W)."""

    first: Tensor
    second: Tensor
    flow: Tensor
    valid: Tensor

    def take(self, index: Tensor, flipped: bool = False) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """A batch: images in 0..1, flow, valid; mirrored on request."""
        parts = [self.first[index] / 255, self.second[index] / 255, self.flow[index].float(), self.valid[index]]
        if flipped:
            parts = [part.flip(-1) for part in parts]
            parts[2] = parts[2] * torch.tensor([-1.0, 1.0]).view(1, 2, 1, 1)
        return parts[0], parts[1], parts[2], parts[3]


def rendered(plan: Plan, folder: Path) -> Data:
    """The pairs of this plan, from the folder or rendered into it."""
    path = folder / "pairs.pt"
    key = [plan.pairs, plan.held_out, plan.height, plan.width]
    if path.is_file():
        kept = torch.load(path, weights_only=True)
        if kept["key"] == key:
            return Data(*kept["data"])
    source = SyntheticPairs(None, size=(plan.height, plan.width), settings=SCENES, seed=0)
    parts: list[list[Tensor]] = [[], [], [], []]
    for begin in range(0, plan.pairs + plan.held_out, 20):
        batch = source.render(list(range(begin, min(begin + 20, plan.pairs + plan.held_out))), as_bytes=True)
        for part, values in zip(parts, (batch.first, batch.second, batch.flow.half(), batch.valid), strict=True):
            part.append(values)
    data = [torch.cat(part) for part in parts]
    with replacing(path) as temporary:
        torch.save({"key": key, "data": data}, temporary)
    return Data(*data)


def loss_of(share: float) -> PooledMultiscaleLoss:
    """Charbonnier in pixels at every level; all pixels, or the hardest that are within reach."""
    reach = 4.0 if share < 1 else math.inf
    return PooledMultiscaleLoss(
        charbonnier(0.375, 1e-3), WEIGHTS, unit=1.0, reduction="mean", shrinking="average", share=share, reach=reach
    )


def end_point_error(prediction: FlowPrediction, flow: Tensor, valid: Tensor) -> float:
    """Mean over the valid pixels, pixels."""
    error = (prediction.flow.detach() - flow).norm(dim=1)
    return float(error[valid].mean())


def agreement(network: FlowNetwork, batch: tuple[Tensor, ...]) -> list[float]:
    """Figure 5: normalised correlation, per level, of the two gradients that reach a level's flow.

    One comes from the level's own loss; the other, which gradient stopping cuts, through the flow from all finer ones.
    """
    found: list[Tensor] = []
    hook = network.decoder.register_forward_hook(lambda _, inputs, outputs: found.append(outputs[0]))
    prediction = network(batch[0], batch[1])
    hook.remove()
    costs = [weight * level.values.mean() for weight, level in loss_of(1.0).pixel_losses(prediction, *batch[2:])]
    correlations = []
    for index, flow in enumerate(found[:-1]):
        own, finer = (
            torch.autograd.grad(cost, flow, retain_graph=True)[0].flatten()
            for cost in (costs[index], torch.stack(costs[index + 1 :]).sum())
        )
        correlations.append(float(torch.nn.functional.cosine_similarity(own, finer, dim=0)))
    return correlations


def train(plan: Plan, variant: str, seed: int, data: Data) -> dict[str, Any]:
    """One run: curves of training and held-out error, and the agreement of gradients where it can be measured."""
    torch.set_num_threads(1)
    settings, share = VARIANTS[variant]
    torch.manual_seed(seed)
    network = registry.build("wren", **NETWORK | settings).train()
    optimizer = torch.optim.Adam(network.parameters(), plan.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, plan.learning_rate, plan.steps, pct_start=0.1)
    order = torch.Generator().manual_seed(seed)
    loss, held_out = loss_of(share), torch.arange(plan.pairs, plan.pairs + plan.held_out)
    result: dict[str, Any] = {"step": [], "training": [], "held_out": [], "agreement": []}
    began, total = time.process_time(), 0.0
    for step in range(1, plan.steps + 1):
        index = torch.randint(plan.pairs, (plan.batch,), generator=order)
        batch = data.take(index, flipped=bool(torch.randint(2, (), generator=order)))
        prediction = network(batch[0], batch[1])
        optimizer.zero_grad()
        loss(prediction, batch[2], batch[3]).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        total += end_point_error(prediction, batch[2], batch[3])
        if step % plan.every == 0:
            if not settings.get("stop_flow_gradient"):
                result["agreement"].append(agreement(network, batch))
            network.eval()
            with torch.inference_mode():
                errors = [
                    end_point_error(network(*(part := data.take(some))[:2]), *part[2:])
                    for some in held_out.split(plan.held_out // 4 or 1)
                ]
            network.train()
            result["step"].append(step)
            result["training"].append(total / plan.every)
            result["held_out"].append(statistics.fmean(errors))
            total = 0.0
    result["seconds"] = time.process_time() - began
    return result


def run_path(folder: Path, variant: str, seed: int) -> Path:
    """Where a run's result is kept."""
    return folder / "runs" / f"{'-'.join(variant.strip('+ ').split())}-{seed}.json"


def load_run(path: Path, plan: Plan) -> dict[str, Any] | None:
    """A finished result of this plan."""
    if not path.is_file():
        return None
    kept = json.loads(path.read_text(encoding="utf-8"))
    return kept if kept["plan"] == asdict(plan) else None


def work(job: tuple[Plan, Path, str, int]) -> str:
    """Train one run and keep its result; returns a line for the user."""
    plan, folder, variant, seed = job
    result = train(plan, variant, seed, rendered(plan, folder)) | {"plan": asdict(plan)}
    with replacing(run_path(folder, variant, seed)) as temporary:
        temporary.write_text(json.dumps(result), encoding="utf-8")
    return f"{variant}, seed {seed}: {result['held_out'][-1]:.3f} px held out, {result['seconds']:.0f} s of one core"


def spread(values: list[float]) -> str:
    """Mean and standard deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):.3f} ± {deviation:.3f}"


def table(plan: Plan, runs: dict[str, list[dict[str, Any]]]) -> str:
    """The report in Markdown."""
    seeds = len(next(iter(runs.values())))
    lines = [
        f"{plan.steps} steps of {plan.batch} pairs of {plan.width}x{plan.height}, {plan.pairs} pairs for training and "
        f"{plan.held_out} held out, {seeds} seeds: mean ± standard deviation over seeds, end-point error in pixels.",
        "",
        "| network | training, first half | training, end | held out, end | core seconds |",
        "|---|---|---|---|---|",
    ]
    for variant, results in runs.items():
        half = len(results[0]["step"]) // 2
        early = [statistics.fmean(result["training"][:half]) for result in results]
        lines.append(
            f"| {variant} | {spread(early)} | {spread([r['training'][-1] for r in results])} "
            f"| {spread([r['held_out'][-1] for r in results])} "
            f"| {statistics.fmean(r['seconds'] for r in results):.0f} |"
        )
    lines += [
        "",
        "Normalised correlation, in the baseline, between the gradient that a level's flow gets from its own loss and "
        "the one that comes back from finer levels (which gradient stopping cuts), over the whole training:",
        "",
        "| level | 1/64 | 1/32 | 1/16 | 1/8 |",
        "|---|---|---|---|---|",
    ]
    measured = [entry for result in runs["baseline"] for entry in result["agreement"]]
    means = [spread([entry[level] for entry in measured]) for level in range(4)]
    lines += [f"| correlation | {' | '.join(means)} |"]
    return "\n".join(lines) + "\n"


def curves(runs: dict[str, list[dict[str, Any]]]) -> str:
    """Held-out error over steps as an SVG: a line for the mean and a band from the best to the worst seed."""
    width, height, left, top = 760, 420, 56, 16
    steps = next(iter(runs.values()))[0]["step"]
    everything = [value for results in runs.values() for result in results for value in result["held_out"]]
    low, high = math.log(min(everything)), math.log(max(everything))

    def point(step: int, value: float) -> str:
        x = left + step / steps[-1] * (width - left - 190)
        y = top + (high - math.log(value)) / max(high - low, 1e-9) * (height - top - 40)
        return f"{x:.1f},{y:.1f}"

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">']
    parts.append(f'<rect width="{width}" height="{height}" fill="white"/>')
    for share in range(5):
        value = math.exp(low + (high - low) * share / 4)
        x, y = point(0, value).split(",")
        parts.append(f'<text x="{float(x) - 6}" y="{y}" font-size="12" text-anchor="end">{value:.2f}</text>')
        end = point(steps[-1], value).split(",")[0]
        parts.append(f'<line x1="{x}" y1="{y}" x2="{end}" y2="{y}" stroke="#dddddd"/>')
    for step in (0, steps[-1] // 2, steps[-1]):
        x = point(step, math.exp(low)).split(",")[0]
        parts.append(f'<text x="{x}" y="{height - 20}" font-size="12" text-anchor="middle">{step}</text>')
    parts.append(f'<text x="{left}" y="{height - 4}" font-size="12">steps; held-out end-point error in pixels</text>')
    for row, ((variant, results), colour) in enumerate(zip(runs.items(), COLOURS, strict=False)):
        columns = list(zip(*(result["held_out"] for result in results), strict=True))
        band = [point(s, max(c)) for s, c in zip(steps, columns, strict=True)]
        band += [point(s, min(c)) for s, c in list(zip(steps, columns, strict=True))[::-1]]
        line = [point(s, statistics.fmean(c)) for s, c in zip(steps, columns, strict=True)]
        parts.append(f'<polygon points="{" ".join(band)}" fill="{colour}" opacity="0.12"/>')
        parts.append(f'<polyline points="{" ".join(line)}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        parts.append(
            f'<text x="{width - 180}" y="{top + 20 + 18 * row}" font-size="13" fill="{colour}">{variant}</text>'
        )
    return "\n".join([*parts, "</svg>\n"])


def fill_in(document: Path, text: str) -> None:
    """Replace what is between the two marks of a document."""
    before, mark, rest = document.read_text(encoding="utf-8").partition(START)
    _, end, after = rest.partition(END)
    if not mark or not end:
        sys.exit(f"{document} has no place for the table: it needs the lines {START} and {END}")
    with replacing(document) as temporary:
        temporary.write_text(f"{before}{START}\n{text}{END}{after}", encoding="utf-8")


def main() -> None:
    """Run what is missing, then report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/pyramid-level"), help="folder for results")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each row (default: 3)")
    parser.add_argument("--jobs", type=int, default=2, help="runs at the same time, one core each (default: 2)")
    parser.add_argument("--steps", type=int, default=Plan.steps, help=f"of training (default: {Plan.steps})")
    parser.add_argument("--pairs", type=int, default=Plan.pairs, help=f"for training (default: {Plan.pairs})")
    parser.add_argument("--document", type=Path, help="also write the table into this file, between its two marks")
    arguments = parser.parse_args()
    plan = Plan(steps=arguments.steps, pairs=arguments.pairs, every=max(1, min(Plan.every, arguments.steps // 4)))
    rendered(plan, arguments.output)
    # All rows of one seed before the next seed, so that an unfinished run can already be compared.
    wanted = [(variant, seed) for seed in range(arguments.seeds) for variant in VARIANTS]
    left = [(v, s) for v, s in wanted if load_run(run_path(arguments.output, v, s), plan) is None]
    began = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(arguments.jobs) as pool:
        jobs = [(plan, arguments.output, variant, seed) for variant, seed in left]
        for line in pool.imap_unordered(work, jobs):
            print(line, flush=True)
    print(f"{len(left)} runs in {(time.perf_counter() - began) / 60:.1f} minutes")
    runs: dict[str, list[dict[str, Any]]] = {variant: [] for variant in VARIANTS}
    for variant, seed in wanted:
        result = load_run(run_path(arguments.output, variant, seed), plan)
        assert result is not None  # the pool has just finished it
        runs[variant].append(result)
    text = table(plan, runs)
    (arguments.output / "table.md").write_text(text, encoding="utf-8")
    (arguments.output / "curves.svg").write_text(curves(runs), encoding="utf-8")
    if arguments.document:
        fill_in(arguments.document, text)
    print(text)


if __name__ == "__main__":
    main()
