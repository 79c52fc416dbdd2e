"""What one video becomes: a Zarr array, a folder of flow files or of denseflow's JPEGs, or a colour video."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np

from flowzoo.errors import InputError
from flowzoo.extras import needed_for
from flowzoo.files.flow import write_flow
from flowzoo.files.images import write_image
from flowzoo.visualise import RunningScale, flow_picture

STEPS = 64
"""Steps of a pixel that the Zarr array holds, as KITTI's PNG does."""
UNKNOWN = -32768
SHARD_BYTES = 64 << 20
"""Bytes of flow, before compression, in a shard: what is held in memory."""
MOST_IN_SHARD = 256
JPEG_QUALITY = 95


class FlowWriter(Protocol):
    """Takes the flow of a video's pairs in order; used in a `with` statement, whose end completes the result."""

    def write(self, flow: np.ndarray) -> None:
        """Add the flow of the next pair, HxWx2 float32."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: Any) -> None: ...


class FlowFolder:
    """NAME/000000.flo and so on, in any flow format."""

    def __init__(self, path: Path, suffix: str, flow_format: str, clip: bool) -> None:
        self.path, self.suffix, self.flow_format, self.clip, self.count = path, suffix, flow_format, clip, 0

    def write(self, flow: np.ndarray) -> None:
        """See `FlowWriter`."""
        write_flow(self.path / f"{self.count:06d}{self.suffix}", flow, format=self.flow_format, clip=self.clip)
        self.count += 1

    def __enter__(self) -> Self:
        self.path.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *error: Any) -> None:
        pass


class JpegFolder(FlowFolder):
    """NAME/flow_x_00000.jpg and flow_y_00000.jpg as the program denseflow writes them: -bound..bound becomes 0..255."""

    def __init__(self, path: Path, bound: float) -> None:
        super().__init__(path, ".jpg", "", False)
        self.bound = bound

    def write(self, flow: np.ndarray) -> None:
        """See `FlowWriter`."""
        for axis, name in enumerate("xy"):
            levels = np.rint((flow[..., axis].astype(np.float64) + self.bound) * (255 / (2 * self.bound)))
            grey = np.clip(levels, 0, 255).astype(np.uint8)
            write_image(self.path / f"flow_{name}_{self.count:05d}.jpg", grey, JPEG_QUALITY)
        self.count += 1


class ColourVideo:
    """NAME.mp4 in the Middlebury colours."""

    def __init__(self, path: Path, rate: float, max_flow: float | None) -> None:
        from flowzoo.files.video import VideoWriter

        self.video, self.max_flow, self.scale = VideoWriter(path, rate), max_flow, RunningScale()

    def write(self, flow: np.ndarray) -> None:
        """See `FlowWriter`."""
        full = self.scale.update(flow) if self.max_flow is None else self.max_flow
        self.video.write(flow_picture(flow, max_flow=full))

    def __enter__(self) -> Self:
        self.video.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.video.__exit__(*error)


class Nothing:
    """No flow is kept: for motion scores alone."""

    def write(self, flow: np.ndarray) -> None:
        """See `FlowWriter`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        pass


class ZarrArray:
    """NAME.zarr: one array (pairs, H, W, 2) of int16 in steps of 1/64 px, a chunk a pair, in shards of up to 64 MB.

    Attributes of the array say the unit, the step, and what stands for unknown flow.

    Raises:
        InputError: zarr is missing; from `write`: flow beyond 512 px without `clip`.
    """

    def __init__(self, path: Path, size: tuple[int, int], clip: bool, attributes: dict[str, Any]) -> None:
        self.path, self.size, self.clip, self.attributes = path, size, clip, attributes
        self.zarr = zarr_module()
        height, width = size
        self.shard = max(1, min(MOST_IN_SHARD, SHARD_BYTES // (4 * height * width)))
        self.block = np.empty((self.shard, height, width, 2), np.int16)
        self.held = self.count = 0

    def write(self, flow: np.ndarray) -> None:
        """See `FlowWriter`."""
        steps = np.rint(flow * np.float32(STEPS))
        beyond = np.abs(steps) > -UNKNOWN - 1
        if beyond.any():
            if not self.clip:
                raise InputError(
                    f"flow of {np.abs(flow).max():.0f} px in pair {self.count + self.held} does not fit 16 bits in "
                    "steps of 1/64 px (511.98 px): --clip limits it, --format flo holds it"
                )
            steps = np.clip(steps, UNKNOWN + 1, -UNKNOWN - 1)
        self.block[self.held] = steps
        self.held += 1
        if self.held == self.shard:
            self._flush()

    def _flush(self) -> None:
        end = self.count + self.held
        self.array.resize((end, *self.size, 2))
        self.array[self.count : end] = self.block[: self.held]
        self.count, self.held = end, 0

    def __enter__(self) -> Self:
        codecs = self.zarr.codecs
        self.array = self.zarr.create_array(
            store=str(self.path),
            shape=(0, *self.size, 2),
            chunks=(1, *self.size, 2),
            shards=(self.shard, *self.size, 2),
            dtype="int16",
            fill_value=UNKNOWN,
            # x and y apart, and all high bytes apart from all low ones, take less room.
            filters=[codecs.TransposeCodec(order=(0, 3, 1, 2))],
            compressors=[codecs.BloscCodec(cname="zstd", clevel=5, shuffle="bitshuffle", typesize=2)],
            attributes=self.attributes,
            dimension_names=("pair", "y", "x", "component"),
        )
        return self

    def __exit__(self, *error: Any) -> None:
        if error[0] is None and self.held:
            self._flush()


def zarr_module() -> Any:
    """zarr, from version 3 on.

    Raises:
        InputError: it is not installed.
    """
    with needed_for("--format zarr needs", "zarr", "archive"):
        import zarr
        import zarr.codecs
    return zarr


SUFFIX_OF = {"zarr": ".zarr", "mp4": ".mp4", "jpeg": "", "flo": "", "npy": "", "pfm": "", "flo5": "", "kitti": ""}
SUFFIX_OF |= {"exr": "", "exr-half": ""}
"""Suffix of a video's one result; a folder where it is empty."""
FILES_IN_FOLDER = {"flo": ".flo", "npy": ".npy", "pfm": ".pfm", "flo5": ".flo5", "kitti": ".png", "exr": ".exr"}
FILES_IN_FOLDER |= {"exr-half": ".exr"}
FORMATS = (*SUFFIX_OF, "none")
NEEDS: dict[str, Callable[[], Any]] = {"zarr": zarr_module}
"""What a format asks for before any work."""
