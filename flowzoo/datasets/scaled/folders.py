"""Your own clips: a folder of folders of frames."""

from flowzoo.datasets.scaled.scaled_dataset import ScaledClip, ScaledDataset, frames_below
from flowzoo.errors import InputError


class ClipFolders(ScaledDataset):
    """Every folder below the root that holds images is a clip; small frames are made."""

    name = "clips"
    title = "clips"
    layout = "CLIP/*.png (or .jpg)"

    def list_clips(self) -> list[ScaledClip]:
        """See `ScaledDataset`."""
        folders = [self.root, *sorted(path for path in self.root.iterdir() if path.is_dir())]
        clips = []
        for folder in folders:
            frames = frames_below(folder)
            if frames:
                name = folder.name if folder != self.root else self.root.resolve().name
                clips.append(ScaledClip(name, frames, (), tuple(range(len(frames)))))
        if not clips:
            raise InputError(f"no clip in {self.root}: its layout is {self.layout}")
        return clips
