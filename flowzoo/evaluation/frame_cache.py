"""Frames that were read last: in a sequence every frame but the ends belongs to two pairs."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import numpy as np


class FrameCache:
    """Reads every frame once while it is among the last `size`; for any number of threads.

    The arrays are shared and therefore read-only.
    """

    def __init__(self, read: Callable[[Path], np.ndarray], size: int = 4) -> None:
        self.read, self.size = read, size
        self._frames: OrderedDict[Path, Future[np.ndarray]] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, path: Path) -> np.ndarray:
        """The image file at `path`; waits where another thread is reading it."""
        with self._lock:
            frame = self._frames.pop(path, None)
            mine = frame is None
            if frame is None:
                frame = Future()
            self._frames[path] = frame
            while len(self._frames) > self.size:
                self._frames.popitem(last=False)
        if mine:
            try:
                image = self.read(path)
                image.setflags(write=False)
                frame.set_result(image)
            except BaseException as error:
                frame.set_exception(error)
                raise
        return frame.result()
