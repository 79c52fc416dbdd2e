"""Enlarges a clip frame by frame and writes pictures or a video, in constant memory."""

import itertools
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from flowzoo.errors import InputError
from flowzoo.files.images import FORMATS, write_image
from flowzoo.files.run_files import RunFiles
from flowzoo.inference.enlarger import Enlarger
from flowzoo.inference.outputs import VIDEO_SUFFIXES
from flowzoo.inference.sequences import FrameSequence
from flowzoo.inference.windows import Window, chunks, windows

DEFAULT_FOLDER = "superresolved"
DEFAULT_RATE = 25.0
"""Frames per second of a video made of a folder."""


@dataclass(frozen=True)
class FrameOutputs:
    """Where enlarged frames go: `folder`/NAME`suffix` each, or all into one `video`."""

    folder: Path
    suffix: str = ".png"
    video: Path | None = None

    def path(self, name: str) -> Path:
        """The file of one frame."""
        return self.folder / f"{name}{self.suffix}"

    def done(self, name: str) -> bool:
        """Whether a frame is there already."""
        return self.path(name).is_file()

    def state(self, files: RunFiles, sequence: FrameSequence) -> None:
        """Say which files will be written; a folder of results must not hold what is read."""
        if self.video is not None:
            files.writes(self.video, "the enlarged video")
            return
        files.writes_into(self.folder, "the enlarged frames")
        for name in sequence.names():
            files.writes(self.path(name), f"the enlarged frame {name}")

    def all_done(self, sequence: FrameSequence) -> bool:
        """Whether everything that a run would write is there."""
        if self.video is not None:
            return self.video.is_file()
        return all(map(self.done, sequence.names())) and all(self.done(frame.name) for frame in sequence)


def choose_frame_outputs(output: str | None, picture_format: str | None) -> FrameOutputs:
    """From `-o` and `--format` to files.

    Raises:
        InputError: a single picture, or a format for a video.
    """
    path = Path(DEFAULT_FOLDER if output is None else output)
    suffix = path.suffix.lower()
    if output is not None and suffix in VIDEO_SUFFIXES and not path.is_dir():
        if picture_format is not None:
            raise InputError(f"--format {picture_format} is for pictures, but -o {path} is a video: drop one of them")
        return FrameOutputs(path.parent, video=path)
    if output is not None and suffix in FORMATS and not path.is_dir():
        raise InputError(f"-o {path} is one picture, but a clip has many frames: give a folder, or a video (.mp4)")
    return FrameOutputs(path, f".{picture_format or 'png'}")


@dataclass
class SuperResolutionRun:
    """One run of `flowzoo superresolve`.

    Attributes:
        enlarger: network, precision, tiles and chunks.
        sequence: the frames.
        outputs: what is written.
        batch_size: windows that are computed together.
        skip_existing: leave out frames whose files are there.
        say: prints one line for the user.
    """

    enlarger: Enlarger
    sequence: FrameSequence
    outputs: FrameOutputs
    batch_size: int = 1
    skip_existing: bool = False
    say: Callable[[str], None] = print

    def __call__(self) -> None:
        """Do it."""
        began, count = time.perf_counter(), 0
        results = self._results()
        with tqdm(total=self.sequence.count, unit="frame", disable=not sys.stderr.isatty()) as progress:
            for name in self._into_video(results) if self.outputs.video is not None else self._into_files(results):
                count += 1
                progress.update()
                progress.set_postfix_str(name)
        seconds = time.perf_counter() - began
        target = self.outputs.video or self.outputs.folder
        self.say(f"wrote {count} frames to {target} in {seconds:.1f} s ({seconds / max(count, 1):.2f} s a frame)")

    def _into_files(self, results: Iterator[tuple[str, np.ndarray]]) -> Iterator[str]:
        for name, frame in results:
            write_image(self.outputs.path(name), frame)
            yield name

    def _into_video(self, results: Iterator[tuple[str, np.ndarray]]) -> Iterator[str]:
        from flowzoo.files.video import VideoWriter

        assert self.outputs.video is not None, "only called for a video"
        with VideoWriter(self.outputs.video, self.sequence.rate or DEFAULT_RATE) as writer:
            for name, frame in results:
                writer.write(frame)
                yield name

    def _wanted(self, index: int, name: str) -> bool:
        skip = self.skip_existing and self.outputs.video is None
        return not (skip and self.outputs.done(name))

    def _results(self) -> Iterator[tuple[str, np.ndarray]]:
        """Names and enlarged frames in order."""
        return self._by_windows() if self.enlarger.network.frames_in is not None else self._by_chunks()

    def _by_windows(self) -> Iterator[tuple[str, np.ndarray]]:
        network = self.enlarger.network
        assert network.frames_in is not None, "the network takes windows"
        waiting: list[Window] = []
        for window in windows(self.sequence, network.frames_in, network.temporal_border, self._wanted):
            waiting.append(window)
            if len(waiting) == self.batch_size:
                yield from self._enlarged(waiting)
                waiting = []
        if waiting:
            yield from self._enlarged(waiting)

    def _enlarged(self, waiting: list[Window]) -> Iterator[tuple[str, np.ndarray]]:
        found = self.enlarger.windows([[frame.pixels for frame in window.frames] for window in waiting])
        return zip((window.name for window in waiting), found, strict=True)

    def _by_chunks(self) -> Iterator[tuple[str, np.ndarray]]:
        plan = self.enlarger.plan(self.sequence.size)
        assert plan.chunk is not None, "the network takes clips"
        for chunk in chunks(self.sequence, plan.chunk, plan.overlap):
            names = [frame.name for frame in chunk.frames[chunk.kept]]
            wanted = [self._wanted(chunk.index + step, name) for step, name in enumerate(names)]
            if any(wanted):
                found = self.enlarger.clip([frame.pixels for frame in chunk.frames])[chunk.kept]
                yield from itertools.compress(zip(names, found, strict=True), wanted)
