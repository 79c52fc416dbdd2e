"""Pairs that can be read only once: raw frames on standard input, a camera, a network address; raw frames out."""

import re
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np

from flowzoo.errors import InputError, counted
from flowzoo.files.reading import reason, shown
from flowzoo.files.video import FORMATS, pyav, told_depth, upright
from flowzoo.inference.sources import Pair

STANDARD_INPUT = "-"
ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
PROTOCOLS = "rtsp,rtsps,rtp,srtp,udp,tcp,tls,http,https,httpproxy,rtmp,rtmps,srt,crypto"
"""What an address may lead to; never a file of this machine."""
WAITING_FOR_NOBODY = ("rtsp", "rtsps", "rtp", "udp", "rtmp", "rtmps", "srt")
"""Protocols whose frames come when they come; those that nobody took in time are passed over."""
PATIENCE = 10.0
"""Seconds that an address may take to answer, and between two frames."""


def is_stream(first: str) -> bool:
    """Whether FIRST is `-`, the number of a camera, or an address, and no file of this name."""
    if first == STANDARD_INPUT:
        return True
    return bool(first.isdecimal() or ADDRESS.match(first)) and not Path(first).exists()


def open_stream(first: str, size: tuple[int, int] | None, rate: float | None, limit: int | None) -> "FrameStream":
    """The stream that FIRST describes.

    Args:
        first: `-`, the number of a camera, or an address.
        size: width and height of raw frames on standard input; not given otherwise.
        rate: frames per second, where the stream does not say.
        limit: number of pairs after which to stop.

    Raises:
        InputError: it cannot be opened, or a size is missing or not needed.
    """
    if first != STANDARD_INPUT:
        if size is not None:
            raise InputError("--size is of raw frames on standard input: drop it")
        return LiveFrames(first, rate, limit)
    if size is None:
        raise InputError("raw frames on standard input do not tell their size: give --size WIDTHxHEIGHT")
    return RawInput(sys.stdin.buffer, size, rate, limit)


class FrameStream:
    """What streams have in common; see `flowzoo.inference.sources.PairSource`.

    Args:
        title: for messages.
        size: (height, width).
        rate: frames per second or None.
        limit: number of pairs after which to stop, or None.
    """

    count: int | None = None
    folder: Path | None = None
    once: bool = True

    def __init__(self, title: str, size: tuple[int, int], rate: float | None, limit: int | None) -> None:
        self.title, self.size, self.rate, self.limit = title, size, rate, limit
        self.inputs: list[Path] = []
        self.notes: list[str] = []
        self.last_words: list[str] = []

    def pair_names(self) -> Iterator[str]:
        """See `PairSource`."""
        yield self._name(0)

    def all_names(self) -> Iterator[str]:
        """See `PairSource`; how many there will be is not known."""
        return self.pair_names()

    def require_one_size(self) -> None:
        """See `PairSource`; all frames have one."""

    def afterthoughts(self) -> list[str]:
        """See `PairSource`."""
        return self.last_words

    def frame_pairs(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Neighbouring frames."""
        raise InputError(f"{self.title} has no frames")

    def pairs(self, skip: Callable[[int, str], bool] | None = None) -> Iterator[Pair]:
        """See `PairSource`; ends with the stream, after `limit` pairs, or at the first interrupt (Ctrl-C)."""
        index = 0
        with _interruptible() as interrupted:
            for first, second in self.frame_pairs():
                yield Pair(self._name(index), first, second)
                index += 1
                if index == self.limit or interrupted.is_set():
                    break
        if index == 0:
            raise InputError(f"{self.title} has fewer than two frames: flow needs a pair")

    @staticmethod
    def _name(index: int) -> str:
        return f"{index:06d}"


class RawInput(FrameStream):
    """Raw RGB frames (`ffmpeg -f rawvideo -pix_fmt rgb24`), one after the other."""

    def __init__(self, file: BinaryIO, size: tuple[int, int], rate: float | None, limit: int | None) -> None:
        width, height = size
        super().__init__("standard input", (height, width), rate, limit)
        self.file = file

    def frame_pairs(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """See `FrameStream`.

        Raises:
            InputError: the input ends within a frame.
        """
        before: np.ndarray | None = None
        while (frame := self._frame()) is not None:
            if before is not None:
                yield before, frame
            before = frame

    def _frame(self) -> np.ndarray | None:
        height, width = self.size
        needed = 3 * height * width
        content = bytearray()
        while len(content) < needed:
            part = self.file.read(needed - len(content))
            if not part:
                break
            content += part
        if not content:
            return None
        if len(content) < needed:
            raise InputError(
                f"standard input ends within a frame: {len(content)} of {needed} bytes; is --size {width}x{height} "
                "right, and the format rgb24?"
            )
        return np.frombuffer(content, np.uint8).reshape(height, width, 3)


class LiveFrames(FrameStream):
    """A camera by its number, or an address that FFmpeg reads: rtsp://, http://, rtmp://, srt://, udp://, tcp://.

    Where frames come whether or not they are taken (cameras, rtsp, ...), each pair is of the two newest neighbours, and
    the frames passed over are counted; where the sender waits, no frame is left out.

    Raises:
        InputError: it cannot be opened, or does not answer.
    """

    def __init__(self, address: str, rate: float | None, limit: int | None) -> None:
        self.address, self.camera = address, address.isdecimal()
        scheme = ADDRESS.match(address)
        self.newest = self.camera or (scheme is not None and scheme[1].lower() in WAITING_FOR_NOBODY)
        self.av = pyav()
        self.container = self._open()
        if not self.container.streams.video:
            self.container.close()
            raise InputError(f"{self._shown()} sends no video")
        self.depth: list[str] = []
        self.frames = self._decoded()
        first = next(self.frames, None)
        if first is None:
            raise InputError(f"{self._shown()} sends no frames")
        found = self.container.streams.video[0].average_rate
        rate = rate or (float(found) if found else None)
        super().__init__(self._shown(), (first.shape[0], first.shape[1]), rate, limit)
        self.first = first
        self.notes += self.depth

    def _shown(self) -> str:
        """The address without a password."""
        return f"camera {self.address}" if self.camera else shown(re.sub(r"//[^/@]*@", "//", self.address), 120)

    def _open(self) -> Any:
        options = {"protocol_whitelist": PROTOCOLS, "format_whitelist": f"{FORMATS},rtsp,rtp,sdp,hls,mpjpeg"}
        options |= {"rtsp_transport": "tcp"} if self.address.lower().startswith("rtsp") else {}
        place, form = self.address, None
        if self.camera:
            options = {}
            place, form = {
                "darwin": (f"{self.address}:none", "avfoundation"),
                "win32": (self.address, "vfwcap"),
            }.get(sys.platform, (f"/dev/video{self.address}", "v4l2"))
        try:
            return self.av.open(place, format=form, options=options, timeout=PATIENCE)
        except (self.av.FFmpegError, OSError, ValueError) as error:
            raise InputError(
                f"cannot open {self._shown()}: {reason(error)}; check that it is there and not in use"
            ) from error

    def _decoded(self) -> Iterator[np.ndarray]:
        try:
            for frame in self.container.decode(video=0):
                self.depth = self.depth or told_depth(frame, self._shown())
                yield upright(frame)
        except (self.av.FFmpegError, OSError) as error:
            self.last_words = [f"{self._shown()} broke off: {reason(error)}"]

    def frame_pairs(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """See `FrameStream`.

        Raises:
            InputError: the size of the frames changes.
        """
        try:
            for first, second in self._newest() if self.newest else self._all():
                if first.shape != second.shape:
                    raise InputError(f"the frames of {self.title} change their size")
                yield first, second
        finally:
            self.container.close()

    def _all(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        before = self.first
        for frame in self.frames:
            yield before, frame
            before = frame

    def _newest(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The two newest neighbours each time; a thread keeps reading."""
        held: deque[np.ndarray] = deque([self.first], maxlen=2)
        came, stop = threading.Condition(), threading.Event()
        count, ended = 1, False

        def keep_reading() -> None:
            nonlocal count, ended
            for frame in self.frames:
                with came:
                    held.append(frame)
                    count += 1
                    came.notify()
                if stop.is_set():
                    break
            with came:
                ended = True
                came.notify()

        reader = threading.Thread(target=keep_reading, daemon=True)
        reader.start()
        seen, passed_over = 1, 0
        try:
            while True:
                with came:
                    while count == seen and not ended:
                        came.wait()
                    if count == seen:
                        return
                    passed_over += count - seen - 1
                    seen, pair = count, tuple(held)
                yield pair[0], pair[1]
        finally:
            stop.set()
            reader.join(2 * PATIENCE)
            if passed_over:
                self.last_words.append(
                    f"{counted(passed_over, 'frame')} of {self.title} came while others were computed"
                )


class RawFrames:
    """Raw RGB frames to a file: `ffmpeg -f rawvideo -pix_fmt rgb24 -video_size WxH -i -` reads them."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def write(self, frame: np.ndarray) -> None:
        """HxWx3 uint8."""
        self.file.write(np.ascontiguousarray(frame).data)
        self.file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.flush()


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """An event that the first interrupt sets, instead of ending the program; the second one ends it."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return
    previous = signal.getsignal(signal.SIGINT)

    def interrupt(number: int, frame: object) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, previous)
