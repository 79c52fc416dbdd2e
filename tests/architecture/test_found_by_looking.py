"""What stands in its place is found: no list has to be kept by hand."""

import importlib
import pkgutil

from source_tree import PACKAGE

import flowzoo
import flowzoo.datasets
import flowzoo.zoo
from flowzoo import registry
from flowzoo.datasets.catalogue import dataset_class
from flowzoo.datasets.dataset import FlowDataset
from flowzoo.training.recipe import list_presets


def modules(package):
    """All modules of a room, imported."""
    return [
        importlib.import_module(entry.name)
        for entry in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        if not entry.ispkg
    ]


def test_every_card_of_every_module_of_the_zoo_is_listed():
    cards = [card for module in modules(flowzoo.zoo) for card in getattr(module, "CARDS", ())]
    assert sorted(card.name for card in cards) == flowzoo.list_models()


def test_every_file_of_networks_is_built_by_a_card():
    built = {registry.card(name).build.partition(":")[0] for name in flowzoo.list_models()}
    folder = PACKAGE / "models"
    files = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in folder.rglob("*.py")}
    assert {name for name in files if not name.endswith("__init__")} == built


def test_every_data_set_is_found_by_its_name():
    classes = {
        value
        for module in modules(flowzoo.datasets)
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, FlowDataset) and value.name
    }
    assert classes
    assert {found.name: found for found in classes} == {found.name: dataset_class(found.name) for found in classes}


def test_every_preset_is_listed_with_a_summary():
    files = {path.stem for path in (PACKAGE / "presets").iterdir()}
    assert files
    assert set(list_presets()) == files
    assert all(list_presets().values())
