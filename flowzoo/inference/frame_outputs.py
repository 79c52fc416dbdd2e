"""Frames that a run makes, written as pictures or as a video: complete files, in constant memory."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from flowzoo.errors import InputError, counted
from flowzoo.files.images import FORMATS, write_image
from flowzoo.files.run_files import RunFiles
from flowzoo.inference.outputs import VIDEO_SUFFIXES

DEFAULT_RATE = 25.0
"""Frames per second of a video made of a folder."""
PICTURES = ("png", "jpg", "webp", "tif", "bmp", "ppm")
"""What `--format` takes."""


@dataclass(frozen=True)
class FrameOutputs:
    """Where frames go: `folder`/NAME`suffix` each, or all into one `video`; `what` they are, for messages."""

    folder: Path
    what: str
    suffix: str = ".png"
    video: Path | None = None

    def path(self, name: str) -> Path:
        """The file of one frame."""
        return self.folder / f"{name}{self.suffix}"

    def done(self, name: str) -> bool:
        """Whether a frame is there already."""
        return self.path(name).is_file()

    def state(self, files: RunFiles, names: Iterable[str]) -> None:
        """Say which files will be written; a folder of results must not hold what is read."""
        if self.video is not None:
            files.writes(self.video, f"the {self.what} video")
            return
        files.writes_into(self.folder, f"the {self.what} frames")
        for name in names:
            files.writes(self.path(name), f"the {self.what} frame {name}")

    def all_done(self, names: Iterable[str]) -> bool:
        """Whether everything that a run would write is there."""
        return self.video.is_file() if self.video is not None else all(map(self.done, names))

    def write(
        self, results: Iterator[tuple[str, np.ndarray]], rate: float, total: int | None, say: Callable[[str], None]
    ) -> None:
        """Write names and frames (HxWx3 uint8) as they come, with progress on a terminal, and say what was written."""
        began, count = time.perf_counter(), 0
        with tqdm(total=total, unit="frame", disable=not sys.stderr.isatty()) as progress:
            for name in self._into_video(results, rate) if self.video is not None else self._into_files(results):
                count += 1
                progress.update()
                progress.set_postfix_str(name)
        seconds = time.perf_counter() - began
        target = self.video or self.folder
        say(f"wrote {counted(count, 'frame')} to {target} in {seconds:.1f} s ({seconds / max(count, 1):.2f} s a frame)")

    def _into_files(self, results: Iterator[tuple[str, np.ndarray]]) -> Iterator[str]:
        for name, frame in results:
            write_image(self.path(name), frame)
            yield name

    def _into_video(self, results: Iterator[tuple[str, np.ndarray]], rate: float) -> Iterator[str]:
        from flowzoo.files.video import VideoWriter

        assert self.video is not None, "only called for a video"
        with VideoWriter(self.video, rate) as writer:
            for name, frame in results:
                writer.write(frame)
                yield name


def choose_frame_outputs(output: str | None, picture_format: str | None, what: str) -> FrameOutputs:
    """From `-o` and `--format` to files; without `-o` the folder is called `what`.

    Raises:
        InputError: a single picture, or a format for a video.
    """
    path = Path(what if output is None else output)
    suffix = path.suffix.lower()
    if output is not None and suffix in VIDEO_SUFFIXES and not path.is_dir():
        if picture_format is not None:
            raise InputError(f"--format {picture_format} is for pictures, but -o {path} is a video: drop one of them")
        return FrameOutputs(path.parent, what, video=path)
    if output is not None and suffix in FORMATS and not path.is_dir():
        raise InputError(f"-o {path} is one picture, but there are many frames: give a folder, or a video (.mp4)")
    return FrameOutputs(path, what, f".{picture_format or 'png'}")
