"""Correspondence-wise loss as a planning cost (appendix A5 of "Comparing Correspondences"), on gymnasium's CartPole.

    pip install "gymnasium[classic-control]"
    python tools/plan_cartpole.py [--rollouts 20] [--seeds 3] [--csv FILE]

A goal is a picture of a state that random actions reach. The planner (cross-entropy method) knows the simulator: it
tries action sequences, renders where they lead, and compares the pictures with the goal's, by L1 pixel by pixel or by
correspondences. Printed is the mean over rollouts of the least distance to the goal, in the whole state and in what a
picture shows of it. Both costs have the same planner, starts, goals and random numbers.

The paper does not say: planner, horizon, picture size, camera, how goals are drawn, distance. Here: gymnasium's own
picture, blurred and reduced to 75x50; goals are where 16 random pushes lead, each of two steps and mostly in the
direction of the one before; plans reach to the end of a rollout of 16 pushes and are made anew after every second;
distance is Euclidean over cart position and velocity, pole angle and its velocity; and over the two that are shown.
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
from PIL import Image, ImageFilter
from torch import Tensor

from flowzoo.creation import create_flow_network, default_weights
from flowzoo.errors import InputError
from flowzoo.losses.correspondence import CorrespondenceLoss

REDUCED = 8
"""Side of the squares of the simulator's 600x400 picture that become a pixel."""
DEFOCUS = 20
"""Half side, in pixels of that picture, of the box it is blurred with before: lines become areas."""
HOLD = 2
"""Simulator steps that an action lasts."""
LENGTH = 16
"""Actions of a rollout, and of the way to a goal."""
PERSISTENCE = 0.8
"""Chance that an action on the way to a goal repeats the one before."""
FALLEN = 1.2
"""Angle of the pole, in radians, beyond which no goal is."""
SHOWN = (0, 2)
"""What a picture shows of a state: the cart's place and the pole's angle."""

Cost = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Planner:
    """Cross-entropy method over binary actions.

    Attributes:
        taken: actions that are taken before planning anew.
        samples, elite, rounds: sequences tried a round, those that shape the next round, rounds.
    """

    taken: int = 2
    samples: int = 20
    elite: int = 5
    rounds: int = 2

    def actions(self, horizon: int, cost: Callable[[np.ndarray], np.ndarray], rng: np.random.Generator) -> np.ndarray:
        """The first of `horizon` actions of the best sequence; `cost` takes (sequences, horizon) actions in {0, 1}."""
        chances = np.full(horizon, 0.5)
        tried, costs = np.empty((0, horizon), dtype=int), np.empty(0)
        for _ in range(self.rounds):
            drawn = np.unique((rng.random((self.samples, horizon)) < chances).astype(int), axis=0)
            new = drawn[~(drawn[:, None] == tried[None]).all(axis=2).any(axis=1)]
            if len(new):
                tried, costs = np.concatenate([tried, new]), np.concatenate([costs, cost(new)])
            order = np.argsort(costs, kind="stable")
            chances = np.clip(tried[order[: self.elite]].mean(axis=0), 0.1, 0.9)
        best: np.ndarray = tried[order[0], : self.taken]
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

    def states(self, state: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """The state after each of `actions`, each held for HOLD steps; falling over does not end it."""
        simulator = self.environment
        simulator.state, simulator.steps_beyond_terminated = tuple(state), 0
        found = []
        for action in actions:
            for _ in range(HOLD):
                simulator.step(int(action))
            found.append(np.array(simulator.state, dtype=np.float64))
        return np.stack(found)

    def picture(self, state: np.ndarray) -> Tensor:
        """(3,H,W) in [0,1]."""
        self.environment.state = tuple(state)
        rendered = Image.fromarray(self.environment.render())
        small = rendered.filter(ImageFilter.BoxBlur(DEFOCUS)).reduce(REDUCED)
        return torch.from_numpy(np.array(small)).permute(2, 0, 1).float() / 255


def random_goal(simulator: CartPole, start: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The state after LENGTH actions, each the one before with a chance of PERSISTENCE; the pole has not fallen."""
    while True:
        turns = rng.random(LENGTH - 1) > PERSISTENCE
        actions = (rng.integers(0, 2) + np.concatenate([[0], np.cumsum(turns)])) % 2
        states = simulator.states(start, actions)
        if np.abs(states[:, 2]).max() < FALLEN:
            return states[-1]


def rollout(simulator: CartPole, cost: Cost, planner: Planner, seed: int) -> tuple[float, float]:
    """Least distances to a goal over one rollout, whole and as shown; start and goal follow from the seed."""
    rng = np.random.default_rng(seed)
    state = rng.uniform(-0.05, 0.05, 4)
    goal = random_goal(simulator, state, rng)
    target = simulator.picture(goal)
    passed = [state]

    def cost_of(tried: np.ndarray) -> np.ndarray:
        pictures = torch.stack([simulator.picture(simulator.states(state, actions)[-1]) for actions in tried])
        return cost(pictures, target.expand_as(pictures)).numpy()

    for taken in range(0, LENGTH, planner.taken):
        passed += list(simulator.states(state, planner.actions(LENGTH - taken, cost_of, rng)))
        state = passed[-1]
    apart = np.stack(passed) - goal
    whole, shown = (float(np.linalg.norm(part, axis=1).min()) for part in (apart, apart[:, SHOWN]))
    return whole, shown


def correspondence_cost(flow: str) -> Cost:
    """Correspondence-wise L1 of each pair of a batch."""
    settings = {"refinement": "none"} if flow == "wren" else {}
    network = create_flow_network(flow, default_weights(flow), **settings)
    loss = CorrespondenceLoss("l1", image_range=(0, 1))

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
    parser.add_argument("--flow", default="wren")
    parser.add_argument("--csv", type=Path, help="every rollout's distances")
    options = parser.parse_args()
    simulator, planner = CartPole(), Planner()
    costs = {"pixel-wise": pixel_cost, "correspondence-wise": correspondence_cost(options.flow)}
    rows: list[tuple[str, int, int, float, float]] = []
    with torch.inference_mode():
        for seed in range(options.seeds):
            for name, cost in costs.items():
                for number in range(options.rollouts):
                    found = rollout(simulator, cost, planner, 1000 * seed + number)
                    rows.append((name, seed, number, *found))
                means = np.mean([row[3:] for row in rows if row[:2] == (name, seed)], axis=0)
                print(f"seed {seed}, {name}: {means[0]:.3f} in the whole state, {means[1]:.3f} as shown", flush=True)
    for name in costs:
        means = np.mean([row[3:] for row in rows if row[0] == name], axis=0)
        print(f"all, {name}: {means[0]:.3f} in the whole state, {means[1]:.3f} as shown")
    if options.csv:
        with options.csv.open("w", newline="") as file:
            csv.writer(file).writerows([("cost", "seed", "rollout", "distance", "distance shown"), *rows])


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"{error}")
