"""Pseudo ground truth: a teacher's flow, where it can be trusted, as files to train a student on."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from flowzoo.errors import InputError
from flowzoo.files.flow import read_flow, write_flow
from flowzoo.files.images import read_picture
from flowzoo.files.pair_list import read_pair_list, write_pair_list
from flowzoo.inference.estimator import Estimator
from flowzoo.losses.distillation import Trust, trusted

KITTI_LIMIT = 511.0
"""Pixels; a longer vector does not fit KITTI's 16-bit format and is marked unknown."""
LIST = "pairs.txt"


@dataclass(frozen=True)
class Task:
    """One pair to label.

    Attributes:
        first, second: image files.
        name: of the written file, without suffix, relative to the output folder.
    """

    first: Path
    second: Path
    name: str


def label_path(folder: Path, task: Task, format: str) -> Path:
    """The file of a task's label in `folder`."""
    return folder / f"{task.name}{'.png' if format == 'kitti' else '.flo'}"


def list_of_labels(folder: Path, tasks: list[Task], format: str) -> list[tuple[str, str, str]]:
    """Lines of the list of labels in `folder`: those of earlier runs, then those of `tasks`.

    Images are absolute, labels relative to the folder.

    Raises:
        InputError: the folder has a list that was not written so, or a label of the same name but of other images.
    """
    own = {
        label_path(folder, task, format).relative_to(folder).as_posix(): (
            os.path.realpath(task.first),
            os.path.realpath(task.second),
        )
        for task in tasks
    }
    earlier = []
    path = folder / LIST
    for pair in read_pair_list(path) if os.path.lexists(path) else ():
        if pair.flow is None or not all(map(os.path.isabs, pair.names[:2])):
            raise InputError(f"{path} was not written by flowzoo distill and would be replaced: give another folder")
        images, label = (str(pair.first), str(pair.second)), os.path.relpath(pair.flow, folder).replace(os.sep, "/")
        if own.get(label, images) != images:
            raise InputError(f"{pair.flow} is the label of {pair.first} by the list there: give another folder")
        if label not in own:
            earlier.append((*images, label))
    return earlier + [(*images, label) for label, images in own.items()]


@dataclass
class PseudoTruth:
    """Labels pairs and lists them; labels that are there already stay, and so do their lines in the list.

    Attributes:
        estimator: the teacher; must also give the backward flow.
        folder: for the files NAME.png or NAME.flo, and the list `pairs.txt` of first image, second image and flow.
        trust: which vectors are kept; the others are marked unknown.
        format: "kitti" (16-bit PNG with a valid mask, 1/64 px) or "flo" (unknown = 1e10).
    """

    estimator: Estimator
    folder: Path
    trust: Trust
    format: Literal["kitti", "flo"] = "kitti"

    def __post_init__(self) -> None:
        if not self.estimator.backward:
            raise InputError("labelling needs a teacher that also estimates backward flow: Estimator(backward=True)")

    def path(self, task: Task) -> Path:
        """Where a pair's flow goes."""
        return label_path(self.folder, task, self.format)

    def __call__(
        self, tasks: list[Task], *, overwrite: bool = False, progress: Callable[[list[Task]], Iterator[Task]] = iter
    ) -> float:
        """Label all pairs, except those whose file is there, and write the list.

        Returns:
            The share of pixels that is kept, over all pairs.

        Raises:
            InputError: an image cannot be read, or two images of a pair differ in size.
        """
        rows = list_of_labels(self.folder, tasks, self.format)
        kept = []
        for task in progress(tasks):
            path = self.path(task)
            if overwrite or not path.is_file():
                flow, valid = self.label(read_picture(task.first), read_picture(task.second))
                write_flow(path, flow, valid, format=self.format)
            else:
                valid = read_flow(path)[1]
            kept.append(float(valid.mean()))
        write_pair_list(self.folder / LIST, rows)
        return float(np.mean(kept))

    def label(self, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """HxWx3 RGB twice, uint8 or uint16 -> flow HxWx2 in pixels and where it is trusted, HxW bool."""
        if first.shape != second.shape:
            raise InputError(f"the images of a pair differ in size: {first.shape[:2]} and {second.shape[:2]}")
        found = self.estimator(first, second)
        flow, backward = (torch.from_numpy(maps).permute(2, 0, 1)[None] for maps in (found.flow, found.backward))
        scaled = (np.divide(image, np.iinfo(image.dtype).max, dtype=np.float32) for image in (first, second))
        images = [torch.from_numpy(image).permute(2, 0, 1)[None] for image in scaled]
        confidence = None if found.confidence is None else torch.from_numpy(found.confidence)[None, None]
        valid = trusted(flow, backward, images[0], images[1], confidence, self.trust)[0].numpy()
        if self.format == "kitti":
            valid = valid & (np.abs(found.flow) <= KITTI_LIMIT).all(axis=2)
        return found.flow, valid


def tasks_of(files: list[tuple[Path, Path, str]]) -> list[Task]:
    """Tasks of (first, second, wanted name), where a name that occurs again gets a number.

    Two data sets may name their pairs alike, and a list may use an image twice.
    """
    seen: dict[str, int] = {}
    tasks = []
    for first, second, name in files:
        count = seen[name] = seen.get(name, 0) + 1
        tasks.append(Task(first, second, name if count == 1 else f"{name}-{count}"))
    return tasks


def without_suffix(prediction: str) -> str:
    """ "scene/frame_0001.flo" -> "scene/frame_0001"."""
    return os.path.splitext(prediction)[0]
