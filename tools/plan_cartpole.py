"""Correspondence-wise loss as a planning cost (appendix A5 of "Comparing Correspondences"), on gymnasium's CartPole.

    pip install "gymnasium[classic-control]"
    python tools/plan_cartpole.py [--rollouts 20] [--seeds 3] [--csv FILE]

A goal is a picture of a state that random actions reach. The planner (cross-entropy method) knows the simulator: it
tries action sequences, renders where they lead, and compares the pictures with the goal's, by L1 pixel by pixel or by
correspondences. Printed is the mean over rollouts of the least distance to the goal in state space.

The paper does not say: planner, horizon, picture size, camera, sampling of goals, distance. Here: 96x64 pictures of the
unchanged camera, coloured, blurred by area averaging; goals 6 to 12 random pushes away, each push held for two steps;
distance is Euclidean over cart position, cart velocity, pole angle and its velocity.
"""

import argparse
import csv
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowzoo.creation import create_flow_network, default_weights
from flowzoo.errors import InputError
from flowzoo.losses.correspondence import CorrespondenceLoss

SIZE = (64, 96)
HOLD = 2
"""Simulator steps that an action lasts."""


@dataclass(frozen=True)
class Planner:
    """Cross-entropy method over binary actions.

    Attributes:
        horizon: actions that are planned ahead; one is taken before planning anew.
        samples, elite, rounds: sequences tried a round, those that shape the next round, rounds.
    """

    horizon: int = 6
    samples: int = 16
    elite: int = 4
    rounds: int = 2

    def action(self, cost: Callable[[np.ndarray], np.ndarray], rng: np.random.Generator) -> int:
        """The first action of the best sequence; `cost` takes (samples, horizon) actions in {0, 1}."""
        chances = np.full(self.horizon, 0.5)
        best, least = 0, np.inf
        for _ in range(self.rounds):
            tried = (rng.random((self.samples, self.horizon)) < chances).astype(int)
            costs = cost(tried)
            order = np.argsort(costs, kind="stable")
            if costs[order[0]] < least:
                best, least = int(tried[order[0], 0]), float(costs[order[0]])
            chances = np.clip(tried[order[: self.elite]].mean(axis=0), 0.1, 0.9)
        return best


class CartPole:
    """gymnasium's simulator with a state that can be set, and its picture."""

    def __init__(self) -> None:
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
        try:
            import gymnasium
        except ImportError as error:
            raise InputError('this needs gymnasium: pip install "gymnasium[classic-control]"') from error
        gymnasium.logger.min_level = gymnasium.logger.ERROR  # of states beyond the usual end
        self.environment = gymnasium.make("CartPole-v1", render_mode="rgb_array").unwrapped
        self.environment.reset(seed=0)

    def after(self, state: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """The state after `actions`, each held for HOLD steps; falling over does not end it."""
        simulator = self.environment
        simulator.state, simulator.steps_beyond_terminated = tuple(state), 0
        for action in np.repeat(actions, HOLD):
            simulator.step(int(action))
        return np.array(simulator.state, dtype=np.float64)

    def picture(self, state: np.ndarray) -> Tensor:
        """(3,H,W) in [0,1]."""
        self.environment.state = tuple(state)
        frame = torch.from_numpy(self.environment.render().copy()).permute(2, 0, 1)[None].float() / 255
        return torch.nn.functional.interpolate(frame, SIZE, mode="area")[0]


def rollout(
    simulator: CartPole, cost: Callable[[Tensor, Tensor], Tensor], planner: Planner, seed: int, steps: int
) -> float:
    """Least distance to a goal over one rollout; start and goal follow from the seed."""
    rng = np.random.default_rng(seed)
    start = rng.uniform(-0.05, 0.05, 4)
    goal = simulator.after(start, rng.integers(0, 2, int(rng.integers(6, 13))))
    target = simulator.picture(goal)
    state, least = start, np.inf

    def cost_of(tried: np.ndarray) -> np.ndarray:
        pictures = torch.stack([simulator.picture(simulator.after(state, actions)) for actions in tried])
        return cost(pictures, target.expand_as(pictures)).numpy()

    for _ in range(steps):
        state = simulator.after(state, np.array([planner.action(cost_of, rng)]))
        least = min(least, float(np.linalg.norm(state - goal)))
    return least


def correspondence_cost(flow: str) -> Callable[[Tensor, Tensor], Tensor]:
    """Correspondence-wise L1 of each pair of a batch."""
    settings = {"refinement": "none"} if flow == "wren" else {}
    network = create_flow_network(flow, default_weights(flow), **settings)
    loss = CorrespondenceLoss("l1")

    def cost(pictures: Tensor, targets: Tensor) -> Tensor:
        flows = network(targets, pictures).flow, network(pictures, targets).flow
        return torch.stack(
            [loss(*(b[k : k + 1] for b in (pictures, targets)), tuple(f[k : k + 1] for f in flows))
             for k in range(len(pictures))]
        )  # fmt: skip

    return cost


def pixel_cost(pictures: Tensor, targets: Tensor) -> Tensor:
    """L1 of each pair of a batch."""
    return (pictures - targets).abs().mean(dim=(1, 2, 3))


def main() -> None:
    """Plan with both costs and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20, help="actions a rollout")
    parser.add_argument("--flow", default="wren")
    parser.add_argument("--csv", type=Path, help="every rollout's distance")
    options = parser.parse_args()
    simulator, planner = CartPole(), Planner()
    costs = {"pixel-wise": pixel_cost, "correspondence-wise": correspondence_cost(options.flow)}
    rows: list[tuple[str, int, int, float]] = []
    with torch.inference_mode():
        for seed in range(options.seeds):
            means = {}
            for name, cost in costs.items():
                found = [
                    rollout(simulator, cost, planner, 1000 * seed + number, options.steps)
                    for number in range(options.rollouts)
                ]
                rows += [(name, seed, number, distance) for number, distance in enumerate(found)]
                means[name] = float(np.mean(found))
            print(f"seed {seed}: " + ", ".join(f"{name} {mean:.3f}" for name, mean in means.items()), flush=True)
    for name in costs:
        print(f"{name}: {np.mean([row[3] for row in rows if row[0] == name]):.3f} mean least distance to the goal")
    if options.csv:
        with options.csv.open("w", newline="") as file:
            csv.writer(file).writerows([("cost", "seed", "rollout", "distance"), *rows])


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"{error}")
