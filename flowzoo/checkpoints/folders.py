"""Networks as folders: `model.safetensors`, which is enough, and `config.json`, which says the same to readers."""

import json
import os
from pathlib import Path
from typing import Any

from flowzoo import registry
from flowzoo.checkpoints import hub
from flowzoo.checkpoints.loading import load_weights, model_of_weights, save_weights
from flowzoo.files.atomic import replacing
from flowzoo.network import ZooNetwork

CONFIG = "config.json"


def save_folder(network: ZooNetwork, folder: str | os.PathLike[str], **facts: Any) -> None:
    """See `flowzoo.network.ZooNetwork.save_pretrained`."""
    place = Path(folder)
    save_weights(network, place / hub.WEIGHTS, **facts)
    own = {"model": network.model_name, "settings": registry.changed_settings(network)}
    with replacing(place / CONFIG) as temporary:
        temporary.write_text(json.dumps(facts | own, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def load_folder(source: str | os.PathLike[str], **settings: Any) -> ZooNetwork:
    """See `flowzoo.network.ZooNetwork.from_pretrained`."""
    path = Path(source)
    if not path.exists() and isinstance(source, str) and (source.startswith(hub.PREFIX) or not path.is_absolute()):
        path = hub.fetch(source)
    return load_weights(model_of_weights(path), path, **settings).eval()
