"""Your own clips: a folder of folders of frames."""

from flowzoo.datasets.scaled.scaled_dataset import ScaledClip, ScaledDataset
from flowzoo.errors import InputError
from flowzoo.files.frames import frames_in_folders


class ClipFolders(ScaledDataset):
    """Every folder below the root that holds images is a clip; small frames are made."""

    name = "clips"
    title = "clips"
    layout = "CLIP/*.png (or another format)"

    def list_clips(self) -> list[ScaledClip]:
        """See `ScaledDataset`."""
        folders = [self.root, *sorted(path for path in self.root.iterdir() if path.is_dir())]
        found, notes = frames_in_folders(folders, partial=self.partial)
        self.notes += notes
        clips = []
        for folder, frames in found:
            name = folder.name if folder != self.root else self.root.resolve().name
            clips.append(ScaledClip(name, tuple(frames), (), tuple(range(len(frames)))))
        if not clips:
            raise InputError(f"no clip in {self.root}: its layout is {self.layout}")
        return clips
