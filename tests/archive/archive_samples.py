"""Tiny videos for archives."""

import hashlib
from pathlib import Path

import numpy as np

from flowzoo.files.video import VideoWriter

SIZE = (48, 64)


def make_video(path, seed, frames=3):
    """A texture that moves its own way."""
    generator = np.random.default_rng(seed)
    texture = generator.integers(0, 256, (24, 32, 3), dtype=np.uint8).repeat(4, axis=0).repeat(4, axis=1)
    down, right = generator.integers(0, 4, 2)
    with VideoWriter(path, 10.0) as writer:
        for index in range(frames):
            writer.write(np.roll(texture, (down * index, right * index), (0, 1))[: SIZE[0], : SIZE[1]])
    return path


def make_archive(folder: Path, count: int, frames: int = 3) -> Path:
    """`count` videos of `frames` frames or one more, some in a folder below."""
    for index in range(count):
        make_video(folder / ("day" if index % 3 == 0 else ".") / f"clip_{index}.mp4", index, frames + index % 2)
    return folder


def contents(folder):
    """Every file below a folder and what it holds."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }
