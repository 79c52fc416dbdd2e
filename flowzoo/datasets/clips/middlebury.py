"""Middlebury's interpolation scenes: two frames and the true one in between. Baker et al., IJCV 2011."""

from typing import ClassVar

from flowzoo.datasets.clips.clip_dataset import Clip, ClipDataset, FileFrames


class MiddleburyInterpolation(ClipDataset):
    """other-data/SCENE/frame10.png and frame11.png, other-gt-interp/SCENE/frame10i11.png: clips of three frames."""

    name, title = "middlebury-interpolation", "Middlebury interpolation"
    layout = "other-data/SCENE/frame10.png, frame11.png and other-gt-interp/SCENE/frame10i11.png"
    markers = ("other-gt-interp/*/frame10i11.png",)
    subsets: ClassVar = {"other": "12 scenes with public ground truth"}
    official = 12

    def list_clips(self) -> tuple[list[Clip], list[str]]:
        """First frame, true frame in between, last frame of each scene."""
        clips = []
        for truth in sorted(self.root.glob("other-gt-interp/*/frame10i11.png")):
            scene = self.root / "other-data" / truth.parent.name
            files = (scene / "frame10.png", truth, scene / "frame11.png")
            if all(file.is_file() for file in files):
                clips.append(Clip(scene.name, FileFrames(files), len(files)))
        missing = self.official - len(clips)
        return clips, [f"{missing} of {self.official} scenes"] * (missing > 0)
