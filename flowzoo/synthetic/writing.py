"""Renders pairs to disk with several processes, resuming where an earlier run stopped."""

import dataclasses
import hashlib
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import torch

from flowzoo.errors import InputError, counted
from flowzoo.files.atomic import replacing
from flowzoo.files.run_files import RunFiles
from flowzoo.synthetic.packed import MANIFEST, SHARD, Manifest, shard_files, write_manifest, write_shard
from flowzoo.synthetic.pairs import SyntheticPairs
from flowzoo.synthetic.settings import SceneSettings
from flowzoo.synthetic.textures import PROCEDURAL, Cutouts, Textures, image_files

LIST = "pairs.txt"


@dataclass(frozen=True)
class RenderJob:
    """What to render, and where to.

    `textures` None means procedural textures only, of which there are `procedural`; `size` is height, width in pixels.
    """

    output: Path
    textures: Path | None
    cutouts: Path | None
    count: int
    size: tuple[int, int]
    seed: int
    settings: SceneSettings
    packed: bool
    backward: bool
    device: str = "cpu"
    procedural: int = PROCEDURAL

    def pairs(self) -> SyntheticPairs:
        """The data set that is written."""
        cutouts = None if self.cutouts is None else Cutouts(self.cutouts)
        return SyntheticPairs(
            Textures(self.textures, procedural=self.procedural),
            cutouts,
            self.size,
            self.settings,
            self.seed,
            device=self.device,
        )

    def manifest(self) -> Manifest:
        """What decides the pairs; of the source images their relative names and sizes in bytes."""
        recipe = {
            "settings": {key: _plain(value) for key, value in dataclasses.asdict(self.settings).items()},
            "textures": _fingerprint(self.textures, "textures"),
            "cutouts": _fingerprint(self.cutouts, "cut-outs"),
            "procedural": self.procedural,
        }
        return Manifest(self.count, self.size, self.seed, self.backward, recipe)

    def shards(self) -> list[int]:
        """The shards that are not complete yet."""
        return [shard for shard in range(self.manifest().shards) if not all(f.is_file() for f in self.files(shard))]

    def missing(self) -> list[int]:
        """The pairs whose shards are not complete yet."""
        return [index for shard in self.shards() for index in self.indices(shard)]

    def files(self, shard: int) -> list[Path]:
        """The files of a shard."""
        if self.packed:
            return list(shard_files(self.output, shard, backward=self.backward).values())
        return [path for index in self.indices(shard) for path in pair_files(self.output, index).values()]

    def indices(self, shard: int) -> range:
        """The pairs of a shard."""
        return range(shard * SHARD, min((shard + 1) * SHARD, self.count))


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _fingerprint(folder: Path | None, what: str) -> str | None:
    if folder is None:
        return None
    lines = [f"{path.relative_to(folder).as_posix()} {path.stat().st_size}" for path in image_files(folder, what)]
    return f"{len(lines)} images, {hashlib.sha256(chr(10).join(lines).encode()).hexdigest()[:16]}"


def pair_files(folder: Path, index: int) -> dict[str, Path]:
    """Kind -> file of a pair in ordinary files; the names are those of FlyingChairs2."""
    names = {
        "first": "img_0.png",
        "second": "img_1.png",
        "flow": "flow_01.flo",
        "backward_flow": "flow_10.flo",
        "occluded": "occ_01.png",
        "backward_occluded": "occ_10.png",
    }
    return {kind: folder / f"{index:07d}-{name}" for kind, name in names.items()}


def render_to_disk(job: RenderJob, workers: int = 1) -> Iterator[int]:
    """Render what is missing; yields how many pairs have been written since the last time (none for those there).

    Raises:
        InputError: unusable sources, a folder with other pairs, a full disk.
    """
    check_files(job)
    manifest = job.manifest()
    _prepare(job, manifest)
    missing = job.shards()
    if not missing:
        return
    if workers <= 1 or len(missing) == 1:
        pairs = job.pairs()
        for shard in missing:
            yield _write(job, pairs, shard)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(missing)), context, _start, (job,)) as pool:
        try:
            for future in as_completed([pool.submit(_work, shard) for shard in missing]):
                yield future.result()
        except BrokenProcessPool as error:
            raise InputError("a rendering process died (out of memory?): try fewer --workers") from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def check_files(job: RenderJob) -> None:
    """What can be said about the files before anything is rendered.

    Raises:
        InputError: a file would replace one of the sources, or one in the folder that this program has not written.
    """
    files = RunFiles()
    for folder, what in ((job.textures, "textures"), (job.cutouts, "cut-outs")):
        if folder is not None:
            files.reads(*image_files(folder, what))
    outputs = [file for shard in range(-(-job.count // SHARD)) for file in job.files(shard)]
    outputs += [job.output / MANIFEST] if job.packed else [job.output / MANIFEST, job.output / LIST]
    for path in outputs:
        files.writes(path, "a file of the rendered pairs")
    files.check()
    for folder in (job.textures, job.cutouts):
        if folder is not None and not job.packed and job.output.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"{job.output} lies in {folder}, whose images are drawn from: give another folder")
    if not (job.output / MANIFEST).is_file():
        foreign = [path for path in outputs if path.exists()]
        if foreign:
            raise InputError(
                f"{job.output} holds {counted(len(foreign), 'file')} that would be replaced, first {foreign[0].name}, "
                f"and no {MANIFEST} of flowzoo synth, so they are not its own; give another folder"
            )


def _prepare(job: RenderJob, manifest: Manifest) -> None:
    try:
        job.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {job.output}: {error.strerror}") from error
    write_manifest(job.output, manifest)
    if not job.packed:
        lines = []
        for index in range(job.count):
            files = pair_files(job.output, index)
            lines.append(" ".join(files[kind].name for kind in ("first", "second", "flow")) + "\n")
        with replacing(job.output / LIST) as temporary:
            temporary.write_text("".join(lines))


_worker: tuple[RenderJob, SyntheticPairs] | None = None


def _start(job: RenderJob) -> None:
    """In each process, once: one thread, and the sources in memory."""
    global _worker
    torch.set_num_threads(1)
    _worker = job, job.pairs()


def _work(shard: int) -> int:
    if _worker is None:
        raise RuntimeError("the process was not started by _start")
    return _write(*_worker, shard)


def _write(job: RenderJob, pairs: SyntheticPairs, shard: int) -> int:
    indices = job.indices(shard)
    if job.packed:
        step = 1 if pairs.device.type == "cpu" else 16
        parts = [pairs.render(indices[k : k + step], as_bytes=True).to("cpu") for k in range(0, len(indices), step)]
        write_shard(job.output, shard, parts, backward=job.backward)
    else:
        for index in indices:
            _write_files(job, pairs, index)
    return len(indices)


def _write_files(job: RenderJob, pairs: SyntheticPairs, index: int) -> None:
    from flowzoo.files.flow import write_flow
    from flowzoo.files.images import write_image

    files = pair_files(job.output, index)
    if all(path.is_file() for path in files.values()):
        return
    pair = pairs.render([index], as_bytes=True).to("cpu")
    for kind, path in files.items():
        values = getattr(pair, kind)[0]
        if kind.endswith("flow"):
            valid = pair.valid if kind == "flow" else pair.backward_valid
            write_flow(path, values.permute(1, 2, 0).numpy(), valid[0].numpy())
        elif kind.endswith("occluded"):
            write_image(path, (values.to(torch.uint8) * 255).numpy())
        else:
            write_image(path, values.permute(1, 2, 0).contiguous().numpy())
