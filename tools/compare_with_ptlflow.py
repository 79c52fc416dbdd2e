"""Times flowzoo's networks against ptlflow's on this machine, in one run that takes turns.

    python tools/compare_with_ptlflow.py                      # the table of the README
    python tools/compare_with_ptlflow.py --pairs hd3:hd3

Makes a virtual environment for ptlflow (default: beside the cache of flowzoo's weights) with the same torch version as
the running one. ptlflow imports torchvision, of which there is no CPU build for every torch; the ptlflow process gets
an empty stand-in for it, since none of these networks calls it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import venv
from pathlib import Path

PTLFLOW = "ptlflow==0.4.2"
NEEDS = ["einops", "h5py", "loguru", "opencv-python-headless<4.14", "pandas", "pypng==0.20220715.0", "requests"]
NEEDS += ["scipy", "tabulate", "lightning", "pyyaml", "jsonargparse", "rich", "safetensors", "httpx", "pillow"]
NEEDS += ["tensorboard", "plotly"]
PAIRS = (
    "pwcnet:pwcnet,liteflownet2:pwcnet,liteflownet2/bfloat16:pwcnet,liteflownet:pwcnet,wren:pwcnet,wren/bfloat16:pwcnet"
)

WORKER = r"""
import importlib.abc, importlib.machinery, json, sys, time, types

class Names(type):
    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return name

class Empty(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Names(name, (), {})

class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] == "torchvision":
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
    def create_module(self, spec):
        return Empty(spec.name)
    def exec_module(self, module):
        pass

side, name, width, height, threads, precision, folder = sys.argv[1:]
sys.path.insert(0, folder)
import torch
torch.set_num_threads(int(threads))
torch.manual_seed(0)
images = torch.rand(1, 2, 3, int(height), int(width))
if side == "ptlflow":
    sys.meta_path.insert(0, Finder())
    import ptlflow
    network = ptlflow.get_model(name).eval()
    def call():
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            return network({"images": images})
else:
    import flowzoo
    from flowzoo.inference.estimator import Estimator
    estimator = Estimator(flowzoo.create(name), getattr(torch, precision))
    def call():
        return estimator.predict(images[:, 0], images[:, 1])

def status(key):
    for line in open("/proc/self/status"):
        if line.startswith(key):
            return int(line.split()[1]) * 1024

print("ready", flush=True)
for line in sys.stdin:
    if line.strip() == "memory":
        before = status("VmRSS:")
        open("/proc/self/clear_refs", "w").write("5")
        call()
        print(json.dumps(status("VmHWM:") - before), flush=True)
    else:
        began = time.perf_counter()
        call()
        print(json.dumps(time.perf_counter() - began), flush=True)
"""


def environment(folder: Path) -> Path:
    """The interpreter of an environment with ptlflow; made on first use."""
    import torch

    python = folder / "bin" / "python"
    if not (folder / "complete").is_file():
        print(f"making an environment with {PTLFLOW} in {folder}", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "-q"]
        subprocess.run([*pip, f"torch=={torch.__version__.split('+')[0]}"], check=True)
        subprocess.run([*pip, "--no-deps", PTLFLOW, "timm", "huggingface_hub"], check=True)
        subprocess.run([*pip, *NEEDS], check=True)
        (folder / "complete").touch()
    return python


class Worker:
    """A process that holds one network and runs it when asked."""

    def __init__(self, python: Path, side: str, name: str, options: argparse.Namespace) -> None:
        name, _, precision = name.partition("/")
        checkout = str(Path(__file__).resolve().parents[1])
        words = [side, name, *options.size.split("x"), str(options.threads), precision or "float32", checkout]
        self.process = subprocess.Popen(
            [str(python), "-c", WORKER, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        while (line := self._line()) != "ready":
            print(line, file=sys.stderr)

    def _line(self) -> str:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a timed process ended early; see its message above")
        return line.strip()

    def ask(self, what: str) -> float:
        """Bytes for "memory", seconds for "time"."""
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        while True:
            line = self._line()
            try:
                return json.loads(line)
            except ValueError:
                print(line, file=sys.stderr)

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait(20)


def main() -> None:
    """Print the table."""
    cache = Path(os.environ.get("FLOWZOO_CACHE") or Path.home() / ".cache" / "flowzoo")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", default=PAIRS, help=f"ours[/precision]:theirs[/precision],... (default: {PAIRS})")
    parser.add_argument("--size", default="1024x436", help="WIDTHxHEIGHT (default: 1024x436)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--environment", type=Path, default=cache / "ptlflow", help="folder of its environment")
    options = parser.parse_args()
    python = environment(options.environment)
    print(f"{options.size}, batch 1, {options.threads} threads, median of {options.repeat} turns each")
    heads = f"{'flowzoo':24s} {'s':>7s} {'MB':>7s}   {'ptlflow 0.4.2':16s} {'s':>7s} {'MB':>7s}"
    print(f"{heads}   {'time':>5s} {'memory':>6s}")
    for pair in options.pairs.split(","):
        ours, _, theirs = pair.partition(":")
        workers = [Worker(Path(sys.executable), "flowzoo", ours, options), Worker(python, "ptlflow", theirs, options)]
        memory = [worker.ask("memory") for worker in workers]
        turns = [[worker.ask("time") for worker in workers] for _ in range(options.repeat)]
        seconds = [statistics.median(turn[side] for turn in turns) for side in (0, 1)]
        for worker in workers:
            worker.close()
        print(
            f"{ours:24s} {seconds[0]:7.3f} {memory[0] / 1e6:7.0f}   {theirs:16s} {seconds[1]:7.3f} "
            f"{memory[1] / 1e6:7.0f}   {seconds[0] / seconds[1]:5.2f} {memory[0] / memory[1]:6.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
