"""The small inputs in `shared/cases` that went wrong once: each script is run, and shows what stands here."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from command_server import serving
from PIL import Image

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the scripts use programs and devices of Linux")
LONGEST_RUN = 300
"""Seconds of a script; each command that it starts has half of them."""
LONGEST = 1000
"""Characters of a message on standard error."""


@dataclass(frozen=True)
class Case:
    """What a script must show.

    Attributes:
        status: its exit status; None where the script's own ending says nothing.
        says: patterns that stand in what it prints, standard error included, and how often each.
        never: patterns that must not.
        lines: lines on standard error, where that is known.
        prepare: makes what the script needs, in its folder.
        check: looks at the files that it left, in its folder for temporary files.
        genuine: needs the real programs (they run as another user); for the superuser alone.
        kernels: builds kernels, for which a quick compiler stands in.
    """

    status: int | None = 0
    says: tuple[tuple[str, int], ...] = ()
    never: tuple[str, ...] = ("Traceback", "internal error")
    lines: int | None = None
    prepare: Callable[[Path], None] | None = None
    check: Callable[[Path], bool] | None = None
    genuine: bool = False
    superuser: bool = False
    kernels: bool = False


def refused(says: str = "", status: int = 2) -> Case:
    """One line on standard error, exit status 2."""
    return Case(status, ((says, 1),) if says else (), lines=1)


def two_pairs_were_scored(temporary: Path) -> bool:
    return [json.loads(path.read_text())["pairs"] for path in temporary.glob("*/x.json")] == [2]


def the_flow_is_there(temporary: Path) -> bool:
    return len(list(temporary.glob("*/z.flo"))) == 1


def kitti_test_split(folder: Path) -> None:
    """200 pairs of one small image."""
    images = folder / "K" / "testing" / "image_2"
    images.mkdir(parents=True)
    Image.new("RGB", (16, 16)).save(folder / "one.png")
    for index in range(200):
        for frame in (10, 11):
            os.link(folder / "one.png", images / f"{index:06d}_{frame}.png")


EXPECTED = {
    "api-wrong-types": Case(says=((r"^\S+ InputError ", 4),), never=("accepted", "TypeError", "AttributeError")),
    "bom-in-list": Case(None, says=((r"^rc=0", 1),), check=two_pairs_were_scored),
    "checkpoint-bit-flip": Case(),
    "checkpoint-fallback": Case(),
    "console-encoding": Case(says=((r"^rc=0", 1),), check=the_flow_is_there),
    "download-bad-content-length": Case(says=(("^refused: .*Content-Length", 1), (r"^\['.lock'\]$", 1))),
    "download-html-page": Case(says=(("^refused: .*web page", 1), (r"^\['.lock'\]$", 1))),
    "eps-runs-ghostscript": Case(says=(("eps.png", 1),), lines=1),
    "eth3d-forged-dtype": refused("lakeside_every_5_rate_of_3"),
    "ffconcat-as-mp4": Case(lines=1),
    "float-tiff-message": Case(says=((r"^rc=2", 1), ("holds floating-point values", 1)), lines=1),
    "folder-formats": Case(says=((r"^rc=0", 4),), lines=0),
    "folder-not-searchable": Case(2, ((r"a\.png: Permission denied", 1),), lines=1, genuine=True),
    "kernel-convex": Case(says=(("refused", 1),)),
    "kernel-convex-size": Case(says=(("refused", 1),)),
    "kernel-variational": Case(says=(("refused", 1),)),
    "kitti-png-without-valid-mask": Case(
        says=((r"^rc=2", 2), ("no (pixel of the ground truth|valid pixel)", 2)), lines=2
    ),
    "library-without-symbol": Case(says=((r"^wrote .*/o/a\.flo", 1),), kernels=True),
    "list-error-blames-early-stopping": Case(
        2,
        ((r"^rc=2", 2), (r"space\.txt, line 1", 1), (r"a0\.png is missing", 1)),
        never=("internal error", "early stopping", "patience", "Traceback"),
        lines=3,
    ),
    "list-is-fifo": Case(says=(("not an ordinary file", 3),), lines=3),
    "list-names-with-blanks": Case(says=((r"^rc=0", 6),), lines=0),
    "manifest-exceptions": Case(says=((r"manifest\.json is broken", 5),), lines=5),
    "megadepth-exceptions": Case(lines=6),
    "missing-pair-silent": Case(says=((r"^rc=0", 1), (r"11 of 12 pairs are there.*nope\.flo", 1))),
    "name-too-long": Case(says=(("x{250}", 5),), lines=5),
    "network-half-double": Case(
        says=((r"^\w+ torch\.(float16|bfloat16|float64) torch\.", 12),), never=("FAIL", "Traceback")
    ),
    "no-home": Case(2, (("home", 1),), lines=1, genuine=True),
    "non-utf8-name": Case(says=(("wrote", 1),), lines=0),
    "outputs-on-one-file": Case(
        None, says=((r"would both be written to \S+/x\.png", 1),), never=("wrote", "internal error")
    ),
    "overwrite-folder": Case(says=(("KEPT", 1), (r"^rc=2", 1)), lines=1),
    "overwrite-input-folder": Case(says=(("which is an input", 1),), lines=1),
    "overwrite-list-distill": Case(says=(("which is an input", 1),), lines=1),
    "overwrite-pair": Case(says=(("KEPT", 1), (r"^rc=2", 1)), lines=1),
    "overwrite-single-picture": Case(says=(("KEPT", 1), (r"^rc=2", 1)), lines=1),
    "own-kitti-output-refused": Case(says=((r"^rc=0", 1), ("1 of 200 pairs: files in", 1)), lines=0),
    "pfm-header-blank": Case(says=((r"^(trail|com)\.pfm [0-9.]+$", 2),)),
    "planted-library": Case(
        says=((r"^wrote .*/o/a\.flo", 1),), never=("PLANTED", "Traceback"), superuser=True, kernels=True
    ),
    "preset-exceptions": Case(says=((r"^flowzoo: .*toml-", 9),), lines=9),
    "reader-exceptions-flow": Case(says=((r"^flowzoo: (npy|kitti)-", 3),), lines=3),
    "reader-exceptions-image": Case(says=((r"^flowzoo: img", 2),), lines=2),
    "reader-exceptions-weights": Case(says=((r"^flowzoo: (st|tar|torch)-", 4),), lines=4),
    "same-flow-name-two-scenes": Case(says=((r"^rc=0", 2), ("12 pairs", 1)), never=("twice", "internal error")),
    "stderr-one-line": Case(says=((r"^flowzoo: img", 2),)),
    "submission-names": Case(2, (("--submission", 3),), lines=3, prepare=kitti_test_split),
    "torch-deep-key": refused(r"case\.pth"),
    "torch-forged-dtype": refused(r"forged\.pth"),
    "torn-library": Case(says=((r"^wrote .*/o/a\.flo", 1),), kernels=True),
    "train-output-is-file": Case(says=(("is a file, not a folder", 1),), lines=1),
    "two-trainings": Case(says=(("in use by another training run", 1), (r"^9 .*log\.jsonl", 1))),
    "video-output-drops-options": Case(says=((r"^rc=2", 1), ("--backward, --occlusion, --warped", 1)), lines=1),
    "video-suffixes": Case(says=((r"^rc=0 clip\.(3gp|flv|mts|ts|wmv)", 5), ("wrote 5 pairs", 5)), lines=0),
    "weights-averaged": Case(says=((r"^rc=0", 3),)),
    "worker-error-is-traceback": Case(says=((r"^rc=2", 3),), lines=3),
}


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with `flowzoo` and `python` that start at once."""
    folder = tmp_path_factory.mktemp("programs")
    with serving(folder):
        yield folder


def run(case: Case, folder: Path, temporary: Path, programs: Path, compiler: str) -> "subprocess.CompletedProcess[str]":
    """The script of a case."""
    own = Path(sys.executable).parent
    path = [str(own), os.environ["PATH"]] if case.genuine else [str(programs), str(own), os.environ["PATH"]]
    environment = os.environ | {"PATH": os.pathsep.join(path), "OMP_NUM_THREADS": "1", "FLOWZOO": "flowzoo"}
    environment |= {"PYTHON": "python", "CXX": compiler}
    if not case.genuine:  # others may not look into this folder
        environment["TMPDIR"] = str(temporary)
    with subprocess.Popen(
        ["bash", "run.sh"],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as script:
        try:
            shown, errors = script.communicate(timeout=LONGEST_RUN)
        except subprocess.TimeoutExpired:
            os.killpg(script.pid, signal.SIGKILL)  # the server ends commands whose callers have gone
            pytest.fail("\n".join(("it does not end:", *script.communicate())))
    return subprocess.CompletedProcess(script.args, script.returncode, shown, errors)


def test_no_case_is_forgotten(shared: Path) -> None:
    assert {path.name for path in (shared / "cases").iterdir() if path.is_dir()} <= set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_it_behaves(name: str, shared: Path, programs: Path, hasty_compiler: str, tmp_path: Path) -> None:
    case = EXPECTED[name]
    source = shared / "cases" / name
    if not source.is_dir():
        pytest.skip(f"there is no {source}")
    if case.genuine or case.superuser:
        skip_unless_the_user_can_be_changed()
    folder, temporary = tmp_path / name, tmp_path / "temporary"
    temporary.mkdir()
    shutil.copytree(source, folder, copy_function=shutil.copyfile)
    folder.chmod(0o755)
    if case.prepare is not None:
        case.prepare(folder)
    done = run(case, folder, temporary, programs, hasty_compiler)
    shown = f"{done.stdout}\n{done.stderr}"
    if case.status is not None:
        assert done.returncode == case.status, shown
    for pattern, count in case.says:
        assert len(re.findall(pattern, shown, re.MULTILINE)) == count, f"{pattern!r}: {shown}"
    for pattern in case.never:
        assert not re.search(pattern, shown), shown
    errors = [line for line in done.stderr.splitlines() if line.strip()]
    if case.lines is not None:
        assert len(errors) == case.lines, shown
    assert all(len(line) < LONGEST for line in errors)
    assert case.check is None or case.check(temporary), shown


def skip_unless_the_user_can_be_changed() -> None:
    if os.name != "posix" or os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only the superuser can act as another user")
    program = str(Path(sys.executable).parent / "flowzoo")
    words = ["setpriv", "--reuid", "65534", "--clear-groups", program, "--version"]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("other users may not read this environment")
