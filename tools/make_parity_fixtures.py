"""Writes tests/parity/NAME.npz: what network NAME computes with weights made from names.

    python tools/make_parity_fixtures.py pwcnet          # one network, or several
    python tools/make_parity_fixtures.py wren --set refinement=none
    python tools/make_parity_fixtures.py --missing       # every network of the zoo that has none

Run it when a network is new and its comparison with the publisher's outputs passes; from then on the fixture proves
that nobody changed what it computes. A fixture that a network contradicts is replaced under --replace only.

The tool looks for weights of the largest variance at which rounding does not matter: outputs must move by less than a
fifth of the tolerance when all parameters change by 2e-7 of themselves. With --seen it says which share of the
parameters the fixture sees: those that move an output by more than the tolerance when they change by a tenth.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "parity"))

from parity_fixture import Fixture, Tolerance, names_and_shapes, outputs, tolerance

from flowzoo import registry
from flowzoo.errors import InputError
from flowzoo.network import ZooNetwork

GAINS = 2.0, 1.7, 1.5, 1.2, 1.0, 0.7, 0.5, 0.35, 0.25
ROUNDING = 2e-7
PROBES = 30
"""How many of a network's parameters are tried for the share that the fixture sees, evenly spread."""

Arrays = dict[str, np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="networks of the zoo")
    parser.add_argument("--missing", action="store_true", help="every network that has no fixture")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="settings of the network")
    parser.add_argument("--replace", action="store_true", help="replace a fixture that the network contradicts")
    parser.add_argument("--seen", action="store_true", help="say which share of the parameters the fixture sees")
    options = parser.parse_args()
    names = options.names or []
    if options.missing:
        names += [name for name in registry.list_models() if not Fixture.path(name).exists()]
    try:
        settings = dict(assignment.split("=", 1) for assignment in options.set)
        for name in names:
            make(name, settings, options.replace, options.seen)
            if registry.card(name).default_weights:
                make_of_weights(name, options.replace)
    except (InputError, ValueError) as error:
        sys.exit(f"{Path(__file__).name}: {error}")


def make(name: str, settings: dict[str, str], replace: bool, say_seen: bool) -> None:
    """The fixture of `name` with seeded weights; settings of the old fixture stay unless others are given."""
    old = Fixture.read(name) if Fixture.path(name).exists() else None
    changed: dict[str, Any] = settings or (old.settings if old else {})
    for gain in GAINS:
        fixture = Fixture({}, "", gain, changed)
        network = fixture.network(name)
        refuse_chance(network, fixture.network(name))
        arrays, limit = outputs(network), tolerance(network)
        moved = rounding(network, arrays)
        fine = moved < fifth(limit)
        print(f"{name}: gain {gain}, rounding moves outputs by {moved:.1e}{'' if fine else ', too far'}", flush=True)
        if fine:
            store(name, Fixture(arrays, names_and_shapes(network), gain, changed), old, limit, replace)
            if say_seen:
                print(f"{name}: sees {seen(network, arrays, limit):.0%} of the parameters", flush=True)
            return
    raise InputError(f"{name} magnifies rounding at every gain: change a setting that makes hard choices with --set")


def refuse_chance(network: ZooNetwork, again: ZooNetwork) -> None:
    """Raise InputError where two networks that were built alike have different state."""
    there = again.state_dict()
    by_chance = [key for key, value in network.state_dict().items() if not torch.equal(value, there[key])]
    if by_chance:
        raise InputError(
            f"{network.model_name}: {', '.join(by_chance[:3])} are drawn when it is built, and do not follow from "
            "their names: see seeded_value in tests/parity/parity_fixture.py"
        )


def make_of_weights(name: str, replace: bool) -> None:
    """The fixture of `name` with the weights that ship."""
    title = f"{name}-weights"
    network = Fixture({}, "", 0, {}).network(name)
    arrays = outputs(network)
    print(f"{title}: rounding moves outputs by {rounding(network, arrays):.1e}", flush=True)
    old = Fixture.read(title) if Fixture.path(title).exists() else None
    store(title, Fixture(arrays, names_and_shapes(network), 0, {}), old, tolerance(network), replace)


def store(title: str, new: Fixture, old: Fixture | None, limit: Tolerance, replace: bool) -> None:
    """Write `new` unless it contradicts `old`."""
    if old is not None and not replace and (old.gain, old.settings) == (new.gain, new.settings):
        far = [
            key for key in old.arrays if key not in new.arrays or limit.violated_by(new.arrays[key], old.arrays[key])
        ]
        if far or old.names_and_shapes != new.names_and_shapes:
            raise InputError(
                f"{title} is no longer what its fixture says ({', '.join(far) or 'names of parameters'}): "
                "where that is meant and the publisher's outputs are still met, give --replace"
            )
    new.write(title)
    print(f"{Fixture.path(title)}: {Fixture.path(title).stat().st_size} bytes", flush=True)


def fifth(limit: Tolerance) -> float:
    """A fifth of what a single value may differ by."""
    return min(limit.largest, limit.mean) / 5


def rounding(network: ZooNetwork, arrays: Arrays) -> float:
    """How far outputs move when all parameters change by rounding; the farthest of three tries."""
    return max(farthest(arrays, changed(network, list(network.parameters()), ROUNDING, seed)) for seed in range(3))


def seen(network: ZooNetwork, arrays: Arrays, limit: Tolerance) -> float:
    """Share of the parameters that move an output by more than the tolerance when they change by a tenth."""
    parameters = list(network.parameters())
    probed = parameters[:: max(1, len(parameters) // PROBES)]
    moved = [farthest(arrays, changed(network, [parameter], 0.1, 0)) for parameter in probed]
    return float(np.mean([distance > min(limit.largest, limit.mean) for distance in moved]))


def changed(network: ZooNetwork, parameters: list[torch.nn.Parameter], by: float, seed: int) -> Arrays:
    """Outputs with the parameters changed by a share of themselves, and set back."""
    generator = torch.Generator().manual_seed(seed)
    before = [parameter.detach().clone() for parameter in parameters]
    with torch.no_grad():
        for parameter in parameters:
            parameter.mul_(1 + by * torch.randn(parameter.shape, generator=generator))
        found = outputs(network)
        for parameter, value in zip(parameters, before, strict=True):
            parameter.copy_(value)
    return found


def farthest(first: Arrays, second: Arrays) -> float:
    """Largest difference between two sets of outputs."""
    return max(float(np.abs(first[key] - second[key]).max()) for key in first)


if __name__ == "__main__":
    main()
