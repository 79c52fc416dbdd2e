"""Install flowzoo with the oldest or the newest versions of everything it needs, and run the tests there.

    python tools/check_installation.py newest --python python3.13
    python tools/check_installation.py oldest --python python3.11 --tests tests/files tests/models

"oldest" is constraints-oldest.txt, "newest" has no constraints. What the tests themselves need (pytest and second
opinions) is always the newest that fits. The environment is made in --folder, or in a temporary one that goes again.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
QUICK = ("tests/files", "tests/models/test_every_model.py", "tests/cli", "tests/checkpoints", "tests/inference")
SHOWN = ("torch", "numpy", "pillow", "av", "h5py", "safetensors", "tqdm", "onnx", "onnxruntime", "huggingface_hub")


def install(python: str, folder: Path, kind: str) -> Path:
    """A fresh environment with flowzoo, editable, and the tools of its tests; returns its Python."""
    subprocess.run([python, "-m", "venv", folder], check=True)
    inside = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    pinned = ["-c", str(HERE / "constraints-oldest.txt")] if kind == "oldest" else []
    command = [inside, "-m", "pip", "install", "-q", *pinned, "-e", f"{HERE}[dev]"]
    subprocess.run([str(word) for word in command], check=True)
    return inside


def versions(python: Path) -> str:
    """What is installed there, on one line."""
    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format=freeze"], check=True, capture_output=True, text=True
    )
    found = dict(line.split("==") for line in listed.stdout.splitlines() if "==" in line)
    found = {name.lower().replace("-", "_"): version for name, version in found.items()}
    own = subprocess.run([python, "--version"], check=True, capture_output=True, text=True).stdout.strip()
    return ", ".join([own, *(f"{name} {found[name]}" for name in SHOWN if name in found)])


def run_tests(python: Path, tests: list[str]) -> int:
    """Run every file or folder by itself; prints counts and seconds. Returns how many of them failed."""
    failed = 0
    for name in tests:
        started = time.monotonic()
        command = [python, "-m", "pytest", "-p", "no:cacheprovider", name]
        done = subprocess.run([str(word) for word in command], cwd=HERE, capture_output=True, text=True, check=False)
        counts = re.findall(r"\d+ (?:passed|failed|skipped|errors?)", done.stdout[-2000:])
        said = ", ".join(counts) or f"status {done.returncode}"
        print(f"{name}: {said}, {time.monotonic() - started:.0f} s", flush=True)
        if done.returncode:
            failed += 1
            print(done.stdout[-6000:], done.stderr[-2000:], flush=True)
    return failed


def main() -> int:
    """Do it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("oldest", "newest"))
    parser.add_argument("--python", default=sys.executable, metavar="PYTHON", help="default: this one")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="make the environment here and leave it")
    parser.add_argument("--use", type=Path, metavar="PYTHON", help="an environment's Python that is there already")
    parser.add_argument("--tests", nargs="+", default=list(QUICK), metavar="PATH")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary) / "environment"
        python = arguments.use or install(arguments.python, folder, arguments.kind)
        print(f"{arguments.kind}: {versions(python)}", flush=True)
        return 1 if run_tests(python, arguments.tests) else 0


if __name__ == "__main__":
    sys.exit(main())
