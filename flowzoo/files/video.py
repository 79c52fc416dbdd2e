"""Video files, one frame at a time in constant memory. Needs the extra `video` (PyAV)."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from flowzoo.errors import InputError, counted
from flowzoo.extras import needed_for
from flowzoo.files.atomic import replacing
from flowzoo.files.reading import existing_file, reason
from flowzoo.files.video_ends import what_is_missing

if TYPE_CHECKING:
    from av.container import InputContainer

CODECS = {
    ".mp4": ("libx264", "libopenh264", "mpeg4"),
    ".mov": ("libx264", "libopenh264", "mpeg4"),
    ".mkv": ("libx264", "libopenh264", "mpeg4"),
    ".avi": ("libx264", "libopenh264", "mpeg4"),
    ".webm": ("libvpx-vp9", "libvpx"),
}
"""Encoders for each suffix, best first; the first that this machine's PyAV has is used."""
BT709 = 1
"""Number of this colour space in ITU-T H.273; the same for matrix, primaries and transfer."""


FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,vvc,av1,obu,ivf,vc1,h261,h263,dirac,"
    "flv,live_flv,asf,asf_o,gif,apng,yuv4mpegpipe,ogg,nut,mxf,mxf_opatom,gxf,dv,rm,mjpeg,wtv"
)
"""FFmpeg's names of the formats that are read. They hold their frames themselves, unlike playlists and scripts, which
name other files; still images are no videos."""
STATED_LENGTH = ("mov", "matroska", "flv", "asf", "mxf")
"""Formats, by the start of FFmpeg's name, that state how long they are, so that an early end is noticed."""
LEAST_GAP = 0.1
"""Seconds; a video may end that much, and two frames, before the time that its header states."""


class Video:
    """A video open for reading: iterate over it for its frames, HxWx3 uint8 RGB, upright as players show them.

    Use it in a `with` statement. Each iteration starts at the first frame. A rotation in the file (phones) is applied.
    Opening reads the file once without decoding it, so that one that was cut off is noticed before any work.
    A stream of packets without an end (MPEG-TS, MPEG-PS) that was cut between two of them is a shorter video.

    Args:
        path: the file; its content gives the format, not its name.
        partial: take a cut or damaged video up to where it breaks off, instead of refusing it; `notes` says so.

    Attributes:
        path: the file.
        height, width: size of the frames, after rotation.
        rate: frames per second, or None where the file does not say.
        frames: number of frames that the file holds, or None where decoding alone can tell.
        notes: what of the file cannot be read, or not with all its bits, for the user.
    """

    def __init__(self, path: str | os.PathLike[str], *, partial: bool = False) -> None:
        self.path, self.partial = existing_file(path, "a video file"), partial
        self.notes: list[str] = []
        self._av = pyav()
        self._container = self._open()
        try:
            # The rotation stands with the frames, not in the header.
            first = next(self._decoded(self._container), None)
            if first is None:
                raise InputError(f"{self.path} holds no frame: is it a complete video?")
            self.height, self.width = upright(first).shape[:2]
            self.notes += told_depth(first, str(self.path))
            stream = self._container.streams.video[0]
            self.rate = float(stream.average_rate) if stream.average_rate else None
            packets, problem = self._look_through()
        except InputError:
            self.close()
            raise
        self.frames = int(stream.frames) or packets or None
        if problem is not None:
            if not partial:
                self.close()
                raise InputError(
                    f"{self.path} is truncated or damaged: {problem}; get it again, or take what is there (--partial)"
                )
            self.notes.append(f"{self.path} is truncated or damaged, {problem}: taking the frames that are there")
            self.frames = None

    def __iter__(self) -> Iterator[np.ndarray]:
        """The frames in order.

        Raises:
            InputError: the file is damaged or breaks off (not with `partial`), or the frame size changes.
        """
        with self._open() as container:
            for index, frame in enumerate(self._decoded(container)):
                pixels = upright(frame)
                if pixels.shape[:2] != (self.height, self.width):
                    raise InputError(
                        f"{self.path} changes from {self.width}x{self.height} to {pixels.shape[1]}x{pixels.shape[0]} "
                        f"at frame {index}: split it there"
                    )
                yield pixels

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> "InputContainer":
        options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
        try:
            # With "file:" no name is taken for a network address.
            container: InputContainer = self._av.open(f"file:{self.path}", options=options, **self._lenient())
        except self._av.ArgumentError as error:
            raise InputError(
                f"{self.path} holds no video of a format that is read (MP4, MOV, MKV, WebM, AVI, MPEG, FLV, WMV, GIF, "
                "...): give a video file"
            ) from error
        except (self._av.FFmpegError, OSError) as error:
            raise InputError(f"{self.path} is no video that can be read: {reason(error)}") from error
        if not container.streams.video:
            container.close()
            raise InputError(f"{self.path} holds no video: give a video file")
        container.streams.video[0].thread_type = "AUTO"
        return container

    def _lenient(self) -> dict[str, str]:
        """What lets PyAV open files whose titles are no UTF-8; from 19 on it does so by itself."""
        major = str(self._av.__version__).partition(".")[0]
        return {"metadata_errors": "replace"} if major.isdecimal() and int(major) < 19 else {}

    def _look_through(self) -> tuple[int, str | None]:
        """The number of the video's packets, and what says that the file is not whole, from all its packets."""
        with self._open() as container:
            stream = container.streams.video[0]
            problem = what_is_missing(self.path, container.format.name) or self._index_beyond_end(stream)
            count, end = 0, 0.0
            try:
                for packet in container.demux():
                    count += packet.stream is stream and packet.size > 0
                    if packet.pts is not None and packet.time_base is not None:
                        end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                    if packet.is_corrupt and packet.stream is stream and problem is None:
                        problem = f"packet {count} is incomplete"
            except (self._av.FFmpegError, OSError) as error:
                problem = problem or reason(error)
            if problem is None and 0 < count < stream.frames and container.format.name != "avi":
                # AVI counts frames that repeat the one before, and has no packets for them.
                problem = f"{counted(count, 'frame', 'are', of=stream.frames)} there"
            stated = (container.duration or 0) / 1e6 if container.format.name.startswith(STATED_LENGTH) else 0.0
            begin = (container.start_time or 0) / 1e6
            if problem is None and stated and end - begin + LEAST_GAP + 2 / (self.rate or 25.0) < stated:
                problem = f"it ends after {end - begin:.2f} of {stated:.2f} seconds"
        return count, problem

    def _index_beyond_end(self, stream: Any) -> str | None:
        size = self.path.stat().st_size
        needed = max((entry.pos + entry.size for entry in stream.index_entries), default=0)
        return f"its frames take {needed} bytes, the file has {size}" if needed > size else None

    def _decoded(self, container: "InputContainer") -> Iterator[Any]:
        try:
            yield from container.decode(video=0)
        except (self._av.FFmpegError, OSError) as error:
            if not self.partial:
                raise InputError(f"{self.path} is truncated or damaged: {reason(error)}") from error


def upright(frame: Any) -> np.ndarray:
    """A decoded frame's pixels, HxWx3 uint8 RGB, turned by the rotation it states (degrees counterclockwise) to a
    quarter turn."""
    pixels = frame.to_ndarray(format="rgb24")
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def told_depth(frame: Any, name: str) -> list[str]:
    """What the user should know of how a decoded frame's values are taken: `upright` makes 8 bits of them."""
    bits = max(component.bits for component in frame.format.components)
    return [f"{name} holds {bits} bits a channel: its frames are taken with 8"] if bits > 8 else []


def open_video(path: str | os.PathLike[str], *, partial: bool = False) -> Video:
    """Open a video file for reading.

    Raises:
        InputError: PyAV is missing, or the file is missing, empty, no video, or (without `partial`) cut or damaged.
    """
    return Video(path, partial=partial)


class VideoWriter:
    """Writes a video frame by frame, complete or not at all. Use it in a `with` statement.

    H.264 (VP9 for .webm) with yuv420p colours, which every player shows; odd sides grow by one repeated row or column,
    because that format needs even ones. If the block ends in an exception, there is no file.

    Args:
        path: .mp4, .mov, .mkv, .avi or .webm; missing folders are made.
        rate: frames per second.
        codec: name of an FFmpeg encoder; None: the first of `CODECS` that is there.
        quality: constant rate factor where the encoder has one; lower is better and larger, 18 looks lossless.

    Raises:
        InputError: PyAV is missing, an unknown suffix or codec, a rate that is no positive number, and from `write`
            and at the end of the block: a wrong frame, no frame at all, or a file that cannot be written.
    """

    def __init__(
        self, path: str | os.PathLike[str], rate: float, *, codec: str | None = None, quality: int = 18
    ) -> None:
        self.path = Path(path)
        self._av = pyav()
        suffix = self.path.suffix.lower()
        if suffix not in CODECS:
            raise InputError(f"cannot write {path}: no video format ends in {suffix!r}; use {', '.join(CODECS)}")
        if not 0 < rate < float("inf"):
            raise InputError(f"cannot write {path}: {rate} frames per second is no rate")
        self._rate = Fraction(rate).limit_denominator(1001)
        if self._rate <= 0:
            raise InputError(f"cannot write {path}: {rate} frames per second is too slow")
        self._codec = self._choose(codec, CODECS[suffix])
        self._quality = quality
        self._size: tuple[int, int] | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            temporary = stack.enter_context(replacing(self.path))
            try:
                self._container = self._av.open(f"file:{temporary}", "w")
            except (self._av.FFmpegError, OSError) as error:
                raise InputError(f"cannot write {self.path}: {reason(error)}") from error
            stack.callback(self._close)
            self._stack = stack.pop_all()
        return self

    def write(self, frame: np.ndarray) -> None:
        """Add a frame, HxWx3 uint8 RGB; all frames have the size of the first."""
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or frame.size == 0:
            raise InputError(
                f"cannot write {self.path}: a frame is {frame.dtype} of shape {frame.shape}, expected uint8 (H, W, 3)"
            )
        height, width = frame.shape[:2]
        if self._size is None:
            self._start(height, width)
        elif self._size != (height, width):
            raise InputError(
                f"cannot write {self.path}: a frame of {width}x{height} follows one of {self._size[1]}x{self._size[0]}"
            )
        if height % 2 or width % 2:
            frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        picture = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        picture = picture.reformat(format="yuv420p", dst_colorspace="ITU709")
        self._encode(picture)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            if self._size is None:
                raise InputError(f"cannot write {self.path}: there are no frames")
            self._encode(None)

    def _close(self) -> None:
        try:
            self._container.close()
        except (self._av.FFmpegError, OSError) as error:
            raise InputError(f"cannot write {self.path}: {reason(error)}") from error

    def _start(self, height: int, width: int) -> None:
        """Set the encoder up for frames of this size."""
        try:
            stream = self._container.add_stream(self._codec, rate=self._rate)
        except (self._av.FFmpegError, ValueError) as error:
            raise InputError(f"cannot write {self.path} with codec {self._codec}: {reason(error)}") from error
        stream.height, stream.width = height + height % 2, width + width % 2
        stream.pix_fmt = "yuv420p"
        if self._codec.startswith("libx26"):
            stream.options = {"crf": str(self._quality), "preset": "fast"}
        elif self._codec.startswith("libvpx"):
            stream.options = {"crf": str(self._quality), "b:v": "0"}
        else:
            stream.bit_rate = max(1_000_000, int(0.2 * height * width * self._rate))
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = 1  # limited, as yuv420p is understood everywhere
        self._stream, self._size = stream, (height, width)

    def _encode(self, picture: Any) -> None:
        try:
            for packet in self._stream.encode(picture):
                self._container.mux(packet)
        except (self._av.FFmpegError, OSError) as error:
            raise InputError(f"cannot write {self.path}: {reason(error)}") from error

    def _choose(self, codec: str | None, candidates: tuple[str, ...]) -> str:
        """The encoder to use."""
        for name in (codec,) if codec is not None else candidates:
            try:
                self._av.Codec(name, "w")
            except (self._av.FFmpegError, ValueError):
                continue
            return name
        wanted = codec or " or ".join(candidates)
        raise InputError(f"cannot write {self.path}: PyAV has no encoder {wanted} here; choose another format")


def pyav() -> ModuleType:
    """PyAV.

    Raises:
        InputError: it is not installed.
    """
    with needed_for("videos need", "av", "video"):
        import av
    return av
