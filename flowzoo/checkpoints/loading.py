"""Networks from weights and weights from networks: tags, files, and our own format."""

import logging
import os
from pathlib import Path
from typing import Any

from flowzoo import registry
from flowzoo.cache import sha256_of
from flowzoo.checkpoints import hub, index
from flowzoo.checkpoints.download import obtain
from flowzoo.checkpoints.fitting import recorded_settings, state_for, taken
from flowzoo.checkpoints.formats import Checkpoint, native, read_checkpoint
from flowzoo.checkpoints.importing import build_quietly, models_that_fit
from flowzoo.checkpoints.index import Entry
from flowzoo.errors import InputError
from flowzoo.network import ZooNetwork

_LOG = logging.getLogger("flowzoo")

Weights = str | os.PathLike[str]


def load_weights(name: str, weights: Weights, *, entry: str | None = None, **settings: Any) -> ZooNetwork:
    """See `flowzoo.checkpoints.load_weights`."""
    registry.card(name)
    found = locate(weights)
    recorded: dict[str, Any] = {}
    if isinstance(found, Entry):
        if found.model != name:
            raise InputError(f"weights {found.tag} are of {found.model}, not of {name}: use --model {found.model}")
        recorded = found.settings
        found = obtain(found)
    checkpoint = read_checkpoint(found, entry)
    if entry is None and (checkpoint.others or "n_averaged" in checkpoint.facts):
        _LOG.warning("%s: %s", found, taken(checkpoint))
    return network_from(name, checkpoint, found, recorded, settings)


def network_from(
    name: str, checkpoint: Checkpoint, path: Path, recorded: dict[str, Any], settings: dict[str, Any]
) -> ZooNetwork:
    """The network `name` with the contents of a file.

    Args:
        name: of the network.
        checkpoint: what was read from `path`.
        path: for messages.
        recorded: settings that belong to these weights, besides those that our own files record.
        settings: the user's; they win.

    Raises:
        InputError: the file is of another model, or does not fit.
    """
    settings = recorded | recorded_settings(checkpoint) | settings
    state = state_for(name, checkpoint, path, settings)
    network = build_quietly(name, **settings)
    network.load_state_dict(state, strict=True)
    return network


def locate(weights: Weights) -> Path | Entry:
    """A file, or an entry of the index; what is on the hub is fetched.

    Raises:
        InputError: neither.
    """
    if not isinstance(weights, str):
        return _inside(Path(weights))
    if weights in index.entries():
        return index.entries()[weights]
    if weights.startswith(hub.PREFIX):
        return hub.fetch(weights)
    path = _inside(Path(weights))
    try:
        path.stat()
    except FileNotFoundError:
        if path.suffix or path.name != weights:
            raise InputError(
                f"no file of weights at {weights}, and no tag of this name (flowzoo weights list)"
            ) from None
        raise InputError(f"no weights called {weights!r}: {index.near(weights)} (flowzoo weights list)") from None
    except (OSError, ValueError):
        pass  # reading it says what is wrong
    return path


def _inside(path: Path) -> Path:
    """The weights in a folder that `save_pretrained` wrote; any other path as it is."""
    inner = path / hub.WEIGHTS
    return inner if path.is_dir() and inner.is_file() else path


def save_weights(network: ZooNetwork, path: Weights, **facts: Any) -> None:
    """See `flowzoo.checkpoints.save_weights`."""
    own = {"model": network.model_name, "settings": registry.changed_settings(network)}
    native.write(path, network.state_dict(), facts | own)


def convert_file(
    source: Path, name: str, target: Path, *, entry: str | None = None, **settings: Any
) -> tuple[dict[str, Any], Checkpoint]:
    """Write the published file `source` of network `name` as ours to `target`.

    Returns:
        The facts recorded in it, and what was read.

    Raises:
        InputError: as for `load_weights`, or `target` cannot be written.
    """
    checkpoint = read_checkpoint(source, entry)
    sha256 = sha256_of(source)
    entries = [entry for entry in index.of_model(name) if entry.has_content(sha256)]
    recorded = entries[0].settings if entries else {}
    network = network_from(name, checkpoint, source, recorded, settings)
    own = checkpoint.facts if checkpoint.format == "flowzoo" else {}
    facts = own | {"source": source.name, "source_format": checkpoint.format, "source_sha256": sha256}
    if entries:
        known = entries[0]
        facts |= {"tag": known.tag, "licence": known.licence, "trained_on": list(known.trained_on)}
    if checkpoint.entry:
        facts["source_entry"] = checkpoint.entry
    save_weights(network, target, **facts)
    return facts, checkpoint


def describe(path: Weights, entry: str | None = None) -> dict[str, Any]:
    """See `flowzoo.checkpoints.describe`."""
    found = locate(path)
    path = obtain(found) if isinstance(found, Entry) else found
    checkpoint = read_checkpoint(path, entry)
    sha256 = sha256_of(path)
    ours = checkpoint.format == "flowzoo"
    return {
        "file": str(path),
        "format": checkpoint.format,
        "bytes": path.stat().st_size,
        "sha256": sha256,
        "tensors": len(checkpoint.tensors),
        "parameters": sum(value.numel() for value in checkpoint.tensors.values()),
        "models": [checkpoint.facts["model"]] if ours else models_that_fit(checkpoint.tensors),
        "tags": [entry.tag for entry in index.entries().values() if entry.has_content(sha256)],
        "entry": checkpoint.entry,
        "others": list(checkpoint.others),
        "ignored": list(checkpoint.ignored),
        "facts": checkpoint.facts,
    }


def model_of_weights(weights: Weights, entry: str | None = None) -> str:
    """See `flowzoo.checkpoints.model_of_weights`."""
    found = locate(weights)
    if isinstance(found, Entry):
        return found.model
    checkpoint = read_checkpoint(found)
    if checkpoint.format == "flowzoo":
        model: str = checkpoint.facts["model"]
        return model
    models = models_that_fit(checkpoint.tensors)
    if len(models) != 1:
        fits = f"fits {', '.join(models)}" if models else "fits no network of the zoo as its card has it"
        raise InputError(f"{found} {fits}: say which with --model")
    return models[0]
