"""Tiny pairs on which every preset can train."""

from pathlib import Path

from flowzoo.synthetic import SceneSettings
from flowzoo.synthetic.writing import RenderJob, pair_files, render_to_disk
from flowzoo.training.recipe import load_recipe

TINY = {
    "data": "pairs",
    "crop": "64,64",
    "precision": "float32",
    "log_every": "1",
    "validate_every": "0",
    "patience": "0",
}
"""Changes with which any preset does."""


def make_samples(root: Path) -> Path:
    """Folders with one and with two rendered pairs of 64x64 in `root`; "back" lists them backwards, too."""
    scenes = SceneSettings(objects=(2, 2), motion=0.5, calm=0.0, swap=0.0)
    for name, count in (("one", 1), ("two", 2), ("back", 2)):
        folder = root / name
        list(render_to_disk(RenderJob(folder, None, None, count, (64, 64), 3, scenes, False, False, procedural=4)))
        for index in range(count if name == "back" else 0):
            first, second, _, backward, *_ = (path.name for path in pair_files(folder, index).values())
            with (folder / "pairs.txt").open("a") as file:
                file.write(f"{second} {first} {backward}\n")
    return root


def root_of(samples: Path, preset: str) -> tuple[Path, dict[str, str]]:
    """The folder whose pairs are one batch of a preset, and the settings that go with it."""
    last = load_recipe(preset).stages[-1].task
    changes = {"labels": "."} if last.pairs.labels else {}  # the truth itself
    if last.pairs.both_directions:
        return samples / "back", changes | {"batch": "2"}
    if last.loss.loss != "density":
        return samples / "one", changes | {"batch": "1"}
    # HD3 has batch norm at 1/64 of the size: one pair would leave one value a channel.
    return samples / "two", changes | {"batch": "2"}
