"""Small inputs with the names that the documentation uses, made when a command first names them."""

import re
from pathlib import Path

import numpy as np
import torch
from evaluation_samples import make_kitti
from PIL import Image

import flowzoo
from flowzoo import registry
from flowzoo.checkpoints import save_weights
from flowzoo.files.flow import write_flow

OUTPUTS = ("-o", "--output", "--picture", "--json", "--csv", "--submission", "--pictures", "--document", "--report")
"""Options after which a name is of something that will be written."""
IMAGES = (".png", ".jpg", ".jpeg", ".ppm", ".webp", ".bmp", ".tif")
VIDEOS = (".mp4", ".mov", ".mkv", ".webm", ".avi")
FLOWS = (".flo", ".pfm", ".npy", ".flo5")
TRAINED = (".safetensors", ".pth", ".pt", ".ckpt", ".tar", ".caffemodel", ".pytorch")
SIZE = (64, 64)
"""Rows and columns of every frame."""
MOTION = 2
"""Pixels to the right from frame to frame."""


def frame(index: int) -> np.ndarray:
    """Frame `index` of a texture that moves to the right: HxWx3 uint8."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (20, 32, 3), dtype=np.uint8))
    texture = np.asarray(coarse.resize((160, 96), Image.Resampling.BICUBIC))
    left = 30 - MOTION * index
    return np.ascontiguousarray(texture[10 : 10 + SIZE[0], left : left + SIZE[1]])


def make_inputs(words: list[str], folder: Path) -> None:
    """Make what a command reads and what is not there yet, in `folder`."""
    made = 0
    for before, word in zip(["", *words], words, strict=False):
        path = folder / word
        if before in OUTPUTS or before == "--set" or word.startswith("-") or path.exists() or "=" in word:
            continue
        suffix = path.suffix.lower()
        if word.endswith("/") and ("video" in word or "clips" in word) and "infer" in words:
            make_video(path / "a.mp4")
            make_video(path / "b.mp4")
        elif word == "KITTI" and "distill" in words:  # which looks at all of it
            make_kitti(path, 2015, count=200, height=SIZE[0], width=SIZE[1])
        elif word.endswith("/") or (word.isupper() and word.isalpha() and len(word) > 3):
            make_frames(path, transparent=before == "--cutouts")
        elif suffix in IMAGES:
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(frame(made)).save(path)
            made += 1
        elif suffix in VIDEOS:
            make_video(path)
        elif suffix in FLOWS:
            write_flow(path, np.full((*SIZE, 2), (MOTION, 0), np.float32))
        elif suffix == ".txt":
            make_list(path)
        elif suffix in TRAINED:
            make_weights(path, model_of(words, path.name))


def make_frames(folder: Path, *, transparent: bool = False, count: int = 4) -> None:
    """A folder of frames."""
    folder.mkdir(parents=True)
    for index in range(count):
        picture = Image.fromarray(frame(index))
        if transparent:
            picture.putalpha(Image.fromarray(np.pad(np.full((44, 44), 255, np.uint8), 10)))
        picture.save(folder / f"frame_{index}.png")


def make_video(path: Path, count: int = 4) -> None:
    """A clip."""
    from flowzoo.files.video import VideoWriter

    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, 25.0) as writer:
        for index in range(count):
            writer.write(frame(index))


def make_list(path: Path) -> None:
    """A list of pairs with their flow beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for index in range(2):
        Image.fromarray(frame(index)).save(path.with_name(f"{index}.png"))
    write_flow(path.with_name("0.flo"), np.full((*SIZE, 2), (MOTION, 0), np.float32))
    path.write_text("0.png 1.png 0.flo\n")


def model_of(words: list[str], name: str) -> str:
    """The network that a file of weights is of: that of --model, else the one that the file's name begins like."""
    if "--model" in words:
        return words[words.index("--model") + 1]
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    fitting = [model for model in registry.cards() if plain.startswith(re.sub(r"[^a-z0-9]", "", model))]
    return max(fitting, key=len, default="hd3" if plain.startswith("hd3") else "pwcnet")


def make_weights(path: Path, model: str, **settings: object) -> None:
    """Random weights of a network; a .ckpt also holds an average of them, as training scripts write it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    network = registry.build(model, **settings)
    if path.suffix == ".ckpt":
        torch.save({"state_dict": network.state_dict(), "model_ema": network.state_dict()}, path)
        return
    own = path.with_name(f"{path.name}.safetensors")
    save_weights(network, own)
    own.rename(path)


def make_inputs_of_python(code: str, folder: Path) -> None:
    """Make the files that a block of Python names in quotes."""
    make_inputs(re.findall(r"[\"']([\w./-]+)[\"']", code), folder)


def names_of_python() -> dict[str, object]:
    """What every block of Python may take up without saying so."""
    return {"__name__": "docs", "flowzoo": flowzoo, "torch": torch, "first": frame(0), "second": frame(1)}
