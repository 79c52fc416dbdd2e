"""Why PWC-Net-GOCor's flow depends on the last bits: where rounding changes a score's sign, and what that changes.

    OMP_NUM_THREADS=1 python tools/check_gocor_signs.py --trained 100
    OMP_NUM_THREADS=1 python tools/check_gocor_signs.py --trained 100 --smoothing 1e-4
    OMP_NUM_THREADS=1 python tools/check_gocor_signs.py --trained 100 --exact-modules

GOCor's objective (eta = 0) has a kink where a score is 0: left and right of it the gradient has another factor. Where a
score is nearer to 0 than rounding, two runs may go on from different sides, and their filters part by a finite step,
however exact the arithmetic is. Each rendered pair is run in float32 with flowzoo's kernels, in it with PyTorch's
operators, and in float64. For the module whose scores are farthest from float64's: its pixels where a score's sign is
another than in float64 in some iteration, and the largest difference of a score there and elsewhere, as a share of
the largest score. --smoothing has the kink smoothed (equation 4b), and says how far that moves the flow in float64.
--exact-modules has the modules compute in float64 in all runs, from the float32 features of a run in float32.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import NamedTuple
from unittest import mock

import torch
from brief_training import train_briefly
from torch import Tensor

from flowzoo.blocks.filter_objective import ReferenceTerm
from flowzoo.blocks.gocor import LocalGOCor
from flowzoo.creation import create_flow_network
from flowzoo.network import FlowNetwork
from flowzoo.operators.registration import plain_operators
from flowzoo.synthetic.pairs import SyntheticPairs

NETWORK = "pwcnet-gocor"
SIZE = (72, 100)
"""Height and width of a pair; its level 2 has 32x32 pixels."""
HEAD = (
    "| pair | float32 by | module | pixels | of them flipped | scores differ there | elsewhere | flow, px "
    "| moved by smoothing, px |"
)


class Run(NamedTuple):
    """One run of a network: flow, and by module its scores and the signs that its iterations met, (B,K,H,W) each."""

    flow: Tensor
    scores: dict[str, list[Tensor]]
    signs: dict[str, list[Tensor]]


@contextmanager
def recorded(network: FlowNetwork, scores: dict[str, list[Tensor]], signs: dict[str, list[Tensor]]) -> Iterator[None]:
    """Fill both, in float64 and by the names of the local modules, while the block runs."""
    inside: list[str] = []
    linearised = ReferenceTerm.linearised

    def noting(term: ReferenceTerm) -> tuple[Tensor, Tensor]:
        signs[inside[-1]].append(term.scores.sign().to(torch.int8))
        return linearised(term)

    hooks = []
    for name, module in network.named_modules():
        if isinstance(module, LocalGOCor):
            hooks.append(module.register_forward_pre_hook(lambda *_, name=name: inside.append(name)))
            hooks.append(
                module.register_forward_hook(lambda _, __, given, name=name: scores[name].append(given.double()))
            )
    try:
        with mock.patch.object(ReferenceTerm, "linearised", noting):
            yield
    finally:
        for hook in hooks:
            hook.remove()


def smooth(network: FlowNetwork, eta: float) -> None:
    """Set the smoothing of the objective of every local module."""
    for module in network.modules():
        if isinstance(module, LocalGOCor):
            module.optimiser.smoothing = eta


def make_exact(network: FlowNetwork) -> None:
    """Have every local module compute in float64; whoever takes its scores rounds them to the features' precision."""
    for module in network.modules():
        if isinstance(module, LocalGOCor):
            module.double()
            module.register_forward_pre_hook(lambda _, features: tuple(maps.double() for maps in features))


def run(network: FlowNetwork, first: Tensor, second: Tensor) -> Run:
    """The flow of a pair with 8 bits, (B,3,H,W) each, and what its modules did, in the network's precision."""
    dtype = next(network.parameters()).dtype
    scores: dict[str, list[Tensor]] = defaultdict(list)
    signs: dict[str, list[Tensor]] = defaultdict(list)
    with torch.no_grad(), recorded(network, scores, signs):
        flow = network(first.to(dtype) / 255, second.to(dtype) / 255).flow.double()
    return Run(flow, scores, signs)


def row(single: Run, exact: Run) -> str:
    """The cells on the module whose scores are farthest from float64's."""
    differences = {
        name: (torch.cat(single.scores[name], 1) - torch.cat(wanted, 1)).abs().amax(1) / torch.cat(wanted).abs().max()
        for name, wanted in exact.scores.items()
    }
    name = max(differences, key=lambda module: differences[module].max().item())
    other = torch.cat(single.signs[name], 1) != torch.cat(exact.signs[name], 1)
    flipped, difference = other.any(1), differences[name]
    there = f"{difference[flipped].max():.1e}" if flipped.any() else "-"
    flow = (single.flow - exact.flow).abs().max()
    return (
        f"{name} | {flipped.numel()} | {int(flipped.sum())} | {there} | {difference[~flipped].max():.1e} | {flow:.1e}"
    )


def main() -> None:
    """One line a pair and form of the operators."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", metavar="TAG|FILE", help="default: random ones")
    parser.add_argument("--trained", type=int, default=0, metavar="STEPS", help="train on rendered pairs before")
    parser.add_argument("--smoothing", type=float, default=0.0, metavar="ETA", help="default: 0, the exact objective")
    parser.add_argument("--exact-modules", action="store_true", help="the modules' arithmetic is float64")
    parser.add_argument("--pairs", type=int, default=5, metavar="N", help="default: 5")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    network = create_flow_network(NETWORK, arguments.weights)
    if arguments.trained:
        train_briefly(network, arguments.trained)
    double = create_flow_network(NETWORK).double()
    double.load_state_dict(network.state_dict())
    smooth(network, arguments.smoothing)
    if arguments.exact_modules:
        make_exact(network)
    rendered = SyntheticPairs(None, size=SIZE, seed=1)
    print(f"{HEAD}\n{'|---' * HEAD.count(' | ')}|---|", flush=True)
    for number in range(arguments.pairs):
        pair = rendered[number].first[None], rendered[number].second[None]
        sharp = run(double, *pair)
        smooth(double, arguments.smoothing)
        exact = run(double, *pair)
        smooth(double, 0.0)
        moved = (exact.flow - sharp.flow).abs().max()
        for form in ("kernels", "PyTorch"):
            with plain_operators() if form == "PyTorch" else nullcontext():
                print(f"| {number} | {form} | {row(run(network, *pair), exact)} | {moved:.1e} |", flush=True)


if __name__ == "__main__":
    main()
