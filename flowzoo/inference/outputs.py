"""Which files `flowzoo infer` writes for a pair, and writing them."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flowzoo.errors import InputError
from flowzoo.files import exr
from flowzoo.files.flow import write_flow
from flowzoo.files.images import eight_bits, write_image
from flowzoo.files.run_files import RunFiles
from flowzoo.flow import arrows
from flowzoo.inference.sources import Pair, PairSource
from flowzoo.visualise import flow_picture

if TYPE_CHECKING:
    from flowzoo.inference.estimator import Estimate

FLOW_SUFFIXES = (".flo", ".pfm", ".npy", ".flo5", ".exr")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi")
EXTRA_FILES = ("backward", "occlusion", "warped", "confidence", "arrows", "stmap")
"""Files beside the flow, named after it."""
SUFFIX_OF_FORMAT = {"flo": ".flo", "pfm": ".pfm", "npy": ".npy", "flo5": ".flo5", "kitti": ".png"}
SUFFIX_OF_FORMAT |= {"exr": ".exr", "exr-half": ".exr"}
STANDARD_OUTPUT = "-"
KINDS = {
    "flow": "flow",
    "backward": "backward flow",
    "picture": "colour picture",
    "occlusion": "occlusion",
    "warped": "warped image",
    "confidence": "confidence",
    "arrows": "picture with arrows",
    "stmap": "ST map",
}
"""What a file holds, in words."""


@dataclass(frozen=True)
class OutputChoice:
    """What to write and where.

    Attributes:
        folder: where the files of every pair go.
        file: the one flow file or picture of a single pair (then `folder` is its folder), or None.
        flow_format: a key of `SUFFIX_OF_FORMAT`, or None where `file` is a picture or a video.
        picture: whether a colour picture is written; for a single pair `picture_file` may say where.
        video: colour video of all pairs, or None.
        stream: colours of all pairs go to standard output, as raw RGB frames.
        backward, occlusion, warped, confidence, arrows, stmap: further files, named after the flow's.
    """

    folder: Path
    file: Path | None = None
    flow_format: str | None = "flo"
    picture: bool = True
    picture_file: Path | None = None
    video: Path | None = None
    stream: bool = False
    backward: bool = False
    occlusion: bool = False
    warped: bool = False
    confidence: bool = False
    arrows: bool = False
    stmap: bool = False
    clip: bool = False
    legend: bool = False

    def paths(self, name: str) -> dict[str, Path]:
        """Every file of the pair `name`, by what it holds."""
        paths: dict[str, Path] = {}
        stem = self.file.stem if self.file is not None else name
        if self.flow_format is not None:
            suffix = SUFFIX_OF_FORMAT[self.flow_format]
            paths["flow"] = self.file or self.folder / f"{stem}{suffix}"
            if self.backward:
                paths["backward"] = self.folder / f"{stem}_backward{paths['flow'].suffix}"
        elif self.backward:
            paths["backward"] = self.folder / f"{stem}_backward.flo"
        if self.picture:
            # KITTI's flow is a .png itself, so the picture beside it needs a name of its own.
            beside = f"{stem}_colour.png" if self.flow_format == "kitti" else f"{stem}.png"
            paths["picture"] = (
                self.picture_file or (self.file if self.flow_format is None else None) or (self.folder / beside)
            )
        for extra in EXTRA_FILES[1:]:
            if getattr(self, extra):
                paths[extra] = self.folder / f"{stem}_{extra}{'.exr' if extra == 'stmap' else '.png'}"
        return paths

    def state(self, files: RunFiles, names: Iterable[str]) -> None:
        """Tell `files` everything that will be written for pairs of these names."""
        if self.stream:
            return
        if self.video is not None:
            files.writes(self.video, "the colour video")
            return
        for name in names:
            for kind, path in self.paths(name).items():
                files.writes(path, f"the {KINDS[kind]} of {name}")

    def keep_apart(self, source: PairSource) -> None:
        """Keep pictures out of a folder of frames, where the next run would take them for frames.

        Raises:
            InputError: they would lie there.
        """
        if (
            self.stream
            or source.folder is None
            or not os.path.isdir(self.folder)
            or not os.path.samefile(self.folder, source.folder)
        ):
            return
        for path in self.paths(next(source.pair_names())).values():
            if path.suffix.lower() in PICTURE_SUFFIXES:
                raise InputError(
                    f"{path.name} would lie among the frames of {source.folder}, and be taken for one next time: give "
                    "another folder, or --no-pictures"
                )

    def done(self, name: str) -> bool:
        """Whether every file of the pair `name` is there."""
        return all(path.is_file() for path in self.paths(name).values())

    def all_done(self, source: PairSource) -> bool:
        """Whether everything that a run over `source` would write is there."""
        if self.video is not None:
            return self.video.is_file()
        return all(map(self.done, source.pair_names())) and all(map(self.done, source.all_names()))

    def write(self, pair: Pair, found: "Estimate", max_flow: float | None) -> list[Path]:
        """Write the files of one pair, each complete or not at all; returns them.

        Raises:
            InputError: a file cannot be written, or the flow does not fit its format.
        """
        paths = self.paths(pair.name)
        for kind, path in paths.items():
            if kind in ("flow", "backward"):
                flow = found.flow if kind == "flow" else found.backward
                write_flow(path, _present(flow, kind), format=self.flow_format, clip=self.clip)
            elif kind == "picture":
                write_image(path, flow_picture(found.flow, max_flow=max_flow, legend=self.legend))
            elif kind == "warped":
                write_image(path, warped_image(pair.second, found.flow))
            elif kind == "arrows":
                write_image(path, arrows(found.flow, eight_bits(pair.first)))
            elif kind == "stmap":
                exr.write_st_map(path, found.flow)
            else:
                values = _present(getattr(found, kind), kind)
                write_image(path, np.rint(values.astype(np.float32) * 255).astype(np.uint8))
        return list(paths.values())


def _present(values: np.ndarray | None, kind: str) -> np.ndarray:
    if values is None:
        raise InputError(f"this network gives no {kind}: leave out --{kind}")
    return values


def warped_image(second: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """The second image (any size, HxWx3) read bilinearly at x + flow, as uint8; black outside. Size of the flow."""
    import torch
    import torch.nn.functional as F

    height, width = flow.shape[:2]
    tall, wide = second.shape[:2]
    x = torch.from_numpy(flow[..., 0]) + torch.arange(width)
    y = torch.from_numpy(flow[..., 1]) + torch.arange(height).view(-1, 1)
    grid = torch.stack([(2 * x + 1) / wide - 1, (2 * y + 1) / tall - 1], dim=-1).unsqueeze(0)
    image = torch.from_numpy(eight_bits(second)).permute(2, 0, 1).unsqueeze(0).float()
    warped = F.grid_sample(image, grid, align_corners=False)[0]
    return warped.round().clamp(0, 255).byte().permute(1, 2, 0).numpy()


def choose_outputs(
    output: str | None,
    flow_format: str | None,
    *,
    single: bool,
    picture: str | None = None,
    pictures: bool = True,
    **extras: Any,
) -> OutputChoice:
    """From `-o`, `--format`, `--picture` and the other options to files.

    Args:
        output: a file (format by its suffix), a folder, or None for ./flow/.
        flow_format: "kitti" or a flow format; None = by suffix, .flo in a folder.
        single: whether there is just one pair.
        picture: where the colour picture of a single pair goes.
        pictures: whether a folder also gets a colour picture of every pair.

    Raises:
        InputError: options that contradict each other, that the output cannot hold, or a suffix that is no format.
    """
    picture_file = _picture_file(picture, single, pictures)
    if output == STANDARD_OUTPUT:
        chosen = _film(output, flow_format, picture_file, extras)
    else:
        chosen = _choose(output, flow_format, single, picture_file, pictures, extras)
    if chosen.stmap or chosen.flow_format in ("exr", "exr-half"):
        exr.require()
    if extras.get("clip") and chosen.flow_format != "kitti":
        raise InputError("--clip limits flow to the range of --format kitti: add that, or drop --clip")
    if extras.get("legend") and not (chosen.picture or chosen.stream or chosen.video):
        raise InputError("--legend is drawn into colour pictures, and none is written: drop it, or add --picture FILE")
    return chosen


def _picture_file(picture: str | None, single: bool, pictures: bool) -> Path | None:
    if picture is None:
        return None
    path = Path(picture)
    if not pictures:
        raise InputError("--picture FILE and --no-pictures contradict each other: drop one of them")
    if not single:
        raise InputError("--picture FILE is for one pair: a folder or video writes a picture a pair anyway")
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        raise InputError(f"--picture {path}: give a file that ends in {', '.join(PICTURE_SUFFIXES)}")
    return path


def _choose(
    output: str | None,
    flow_format: str | None,
    single: bool,
    picture: Path | None,
    pictures: bool,
    extras: dict[str, Any],
) -> OutputChoice:
    path = Path(output) if output is not None else Path("flow")
    suffix = path.suffix.lower()
    if output is None or os.path.isdir(path) or output.endswith(("/", "\\")) or not suffix:
        return OutputChoice(path, None, flow_format or "flo", pictures, picture, **extras)
    if suffix in VIDEO_SUFFIXES:
        return _film(output, flow_format, picture, extras)
    if not single:
        raise InputError(f"-o {path} is one file, but there are many pairs: give a folder, or a video file (.mp4)")
    if flow_format is not None:
        if suffix != SUFFIX_OF_FORMAT[flow_format]:
            raise InputError(
                f"-o {path} does not end in {SUFFIX_OF_FORMAT[flow_format]} as --format {flow_format} asks"
            )
        return OutputChoice(path.parent, path, flow_format, picture is not None, picture, **extras)
    if suffix in FLOW_SUFFIXES:
        return OutputChoice(path.parent, path, suffix[1:], picture is not None, picture, **extras)
    if suffix in PICTURE_SUFFIXES:
        if picture is not None or not pictures:
            raise InputError(
                f"-o {path} is a colour picture itself: drop --picture and --no-pictures (or add --format kitti)"
            )
        return OutputChoice(path.parent, path, None, True, **extras)
    known = ", ".join((*FLOW_SUFFIXES, *PICTURE_SUFFIXES))
    raise InputError(f"-o {path}: no format ends in {suffix!r}; give one of {known}, or a folder")


def _film(output: str, flow_format: str | None, picture: Path | None, extras: dict[str, Any]) -> OutputChoice:
    """A colour video, a file or raw frames on standard output; it holds nothing else."""
    lost = [f"--{name}" for name in EXTRA_FILES if extras.get(name)]
    lost += [f"--format {flow_format}"] * (flow_format is not None) + ["--picture"] * (picture is not None)
    if lost:
        raise InputError(
            f"-o {output} is a colour video and cannot hold what {', '.join(lost)} asks for: drop these, or give a "
            "folder"
        )
    kept = {name: extras[name] for name in extras if name not in EXTRA_FILES}
    stream = output == STANDARD_OUTPUT
    video = None if stream else Path(output)
    folder = Path() if video is None else video.parent
    return OutputChoice(folder, flow_format=None, picture=False, video=video, stream=stream, **kept)
