"""Caltech Pedestrian's videos (.seq files of JPEG frames at 30 Hz), taken at 10 Hz as video prediction does."""

import struct
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, ClassVar

import numpy as np

from flowzoo.datasets.clips.clip_dataset import Clip, ClipDataset
from flowzoo.errors import InputError
from flowzoo.files.images import read_frame
from flowzoo.files.reading import opened

HEADER = 1024
MOST_STAMP = 16
JPEG = b"\xff\xd8"
STEP = 3
"""Frames from one that is taken to the next: 30 Hz -> 10 Hz."""


@dataclass(frozen=True)
class SeqFrames:
    """Every `step`-th frame of a Norpix .seq file with JPEG frames.

    Each frame is its length (little-endian uint32, itself included), the JPEG, and 8 or 16 bytes of time stamp.
    """

    file: Path
    step: int = 1

    @cached_property
    def places(self) -> list[tuple[int, int]]:
        """Offset and bytes of every frame that is taken.

        Raises:
            InputError: no .seq file with JPEG frames, or one that is cut.
        """
        found, at = [], HEADER
        with opened(self.file, "a Norpix .seq file") as (stream, size):
            head = stream.read(HEADER)
            if len(head) < HEADER or head[4:24].decode("utf-16-le", "replace").rstrip("\0") != "Norpix seq":
                raise InputError(f"{self.file} is no Norpix .seq file: its header says otherwise")
            while size - at > MOST_STAMP:
                length = self._length(stream, at, size)
                found.append((at + 4, length - 4))
                at += length
                at += next((gap for gap in (8, MOST_STAMP) if self._frame_at(stream, at + gap, size)), 0)
        if not found:
            raise InputError(f"{self.file} has no frames: it is only a header")
        return found[:: self.step]

    def _frame_at(self, stream: BinaryIO, at: int, size: int) -> bool:
        if at + 6 > size:
            return False
        stream.seek(at)
        return stream.read(6)[4:] == JPEG

    def _length(self, stream: BinaryIO, at: int, size: int) -> int:
        stream.seek(at)
        length, start = struct.unpack("<I2s", stream.read(6))
        if start != JPEG or length < 6 or at + length > size:
            raise InputError(f"{self.file} is cut or damaged at byte {at}: there should be a JPEG frame")
        return int(length)

    def __call__(self, index: int) -> np.ndarray:
        """HxWx3 uint8 RGB."""
        offset, length = self.places[index]
        with opened(self.file, "a Norpix .seq file") as (stream, _):
            stream.seek(offset)
            content = stream.read(length)
        return read_frame(content, f"frame {index * self.step} of {self.file}", "JPEG")


class CaltechPedestrian(ClipDataset):
    """setNN/VNNN.seq; sets 00 to 05 to train, 06 to 10 to test, as usual."""

    name, title = "caltech-pedestrian", "Caltech Pedestrian"
    layout = "setNN/VNNN.seq"
    markers = ("set0*/V*.seq",)
    subsets: ClassVar = {"test": "sets 06 to 10", "train": "sets 00 to 05"}
    sets: ClassVar = {"train": range(6), "test": range(6, 11)}

    def list_clips(self) -> tuple[list[Clip], list[str]]:
        """One clip a video."""
        clips, missing = [], []
        for number in self.sets[self.subset]:
            files = sorted((self.root / f"set{number:02d}").glob("V*.seq"))
            if not files:
                missing.append(f"set{number:02d}")
            for file in files:
                frames = SeqFrames(file, STEP)
                clips.append(Clip(f"set{number:02d}/{file.stem}", frames, len(frames.places)))
        return clips, missing
