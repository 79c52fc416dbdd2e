"""Any pairs: a text file with the paths of first image, second image and flow on each line."""

from pathlib import Path
from typing import ClassVar

from flowzoo.datasets.dataset import FlowDataset, Pair
from flowzoo.errors import InputError


class Pairs(FlowDataset):
    """`--root` is the text file, or a folder with `pairs.txt`. Paths are relative to the file's folder.

    Words are separated by blanks (or by tabs alone, where a line has one); empty lines and lines that start with #
    are left out. A prediction has the flow's path relative to that folder, or its file name if it lies elsewhere.
    """

    name, title = "pairs", "list of pairs"
    layout = "a text file with FIRST SECOND FLOW on every line"
    subsets: ClassVar = {"all": "every line"}

    def find_root(self, root: Path) -> Path:
        """Folder of the list, which is remembered."""
        self.file = root / "pairs.txt" if root.is_dir() else root
        if not self.file.is_file():
            raise InputError(f"--root {root}: no such file; give {self.layout}")
        return self.file.parent

    def list_pairs(self) -> tuple[list[Pair], int]:
        """One pair a line."""
        pairs, seen = [], set()
        try:
            lines = self.file.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise InputError(f"{self.file} is not a text file: {error.reason}; give {self.layout}") from error
        for number, line in enumerate(lines, start=1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            words = line.strip().split("\t") if "\t" in line.strip() else line.split()
            if len(words) != 3:
                raise InputError(f"{self.file} line {number} has {len(words)} paths; give FIRST SECOND FLOW")
            first, second, flow = (self.root / word.strip() for word in words)
            name = self._name(words[2].strip())
            if name in seen:
                raise InputError(f"{self.file} line {number}: flow {words[2].strip()} is listed twice; remove one line")
            seen.add(name)
            pairs.append(Pair(name.rpartition(".")[0], first, second, flow, name))
        return pairs, len(pairs)

    def files(self) -> list[Path]:
        """The list, too."""
        return [self.file, *super().files()]

    @staticmethod
    def _name(word: str) -> str:
        path = Path(word)
        return path.name if path.is_absolute() or ".." in path.parts else path.as_posix()
