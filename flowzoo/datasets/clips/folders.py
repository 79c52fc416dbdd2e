"""Any clips: a folder with one folder of frames each."""

from typing import ClassVar

from flowzoo.datasets.clips.clip_dataset import Clip, ClipDataset, FileFrames
from flowzoo.files.frames import frames_in_folders


class Folders(ClipDataset):
    """`--root` is a folder whose folders hold a clip each, or one that holds frames itself."""

    name, title = "clips", "folders of frames"
    layout = "one folder of frames a clip"
    subsets: ClassVar = {"all": "every folder", "train": "nine of ten", "val": "every tenth"}

    def list_clips(self) -> tuple[list[Clip], list[str]]:
        """One clip a folder, in order of their names."""
        folders = sorted(entry for entry in self.root.iterdir() if entry.is_dir()) or [self.root]
        found, notes = frames_in_folders(folders, partial=self.partial)
        self.notes += notes
        clips = [Clip(folder.name, FileFrames(tuple(files)), len(files)) for folder, files in found]
        if self.subset != "all" and len(clips) > 1:
            held_out = max(1, len(clips) // 10)
            clips = clips[-held_out:] if self.subset == "val" else clips[:-held_out]
        return clips, []
