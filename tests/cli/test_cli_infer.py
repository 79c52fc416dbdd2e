"""`flowzoo infer` from the command line: outputs, sources, and one clear line for every mistake."""

import itertools
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

import flowzoo
from flowzoo.checkpoints import save_weights
from flowzoo.cli import main
from flowzoo.inference.estimator import Estimator

SIZE = (70, 90)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A small network's weights: random, but the same in every test."""
    torch.manual_seed(3)
    network = flowzoo.create("liteflownetx")
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_weights(network, path)
    return path


@pytest.fixture
def frames(tmp_path):
    """Five frames of a texture that moves."""
    texture = np.random.default_rng(0).integers(0, 256, (100, 140, 3), dtype=np.uint8)
    paths = []
    for index in range(5):
        path = tmp_path / "frames" / f"frame_{index + 8}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(texture[index : index + SIZE[0], 2 * index : 2 * index + SIZE[1]]).save(path)
        paths.append(path)
    return paths


def run(capsys, *words):
    """(exit status, standard output, standard error)."""
    status = main([str(word) for word in words])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def expected_flow(weights, first, second):
    estimator = Estimator(flowzoo.create("liteflownetx", weights))
    return estimator(np.asarray(Image.open(first)), np.asarray(Image.open(second))).flow


@pytest.mark.parametrize("suffix", [".flo", ".pfm", ".npy", ".flo5"])
def test_a_pair_in_every_lossless_format(suffix, weights, frames, tmp_path, capsys):
    out = tmp_path / "out" / f"flow{suffix}"
    status, said, _ = run(capsys, "infer", *frames[:2], "--weights", weights, "-o", out)
    assert status == 0
    assert "90x70" in said
    assert "cpu" in said
    assert str(weights) in said
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    flow, valid = flowzoo.read_flow(out)
    np.testing.assert_array_equal(flow, expected_flow(weights, *frames[:2]))
    assert valid.all()


def test_kitti_png_is_exact_to_its_step(weights, frames, tmp_path, capsys):
    out = tmp_path / "000000_10.png"
    assert run(capsys, "infer", *frames[:2], "--weights", weights, "-o", out, "--format", "kitti")[0] == 0
    flow, _ = flowzoo.read_flow(out)
    assert np.abs(flow - expected_flow(weights, *frames[:2])).max() <= 0.5 / 64 + 1e-6


def test_all_extra_outputs_of_a_pair(weights, frames, tmp_path, capsys):
    words = ["--backward", "--occlusion", "--warped", "--picture", tmp_path / "p.png", "--max-flow", "5", "--legend"]
    status, _, _ = run(capsys, "infer", *frames[:2], "--weights", weights, "-o", tmp_path / "a.flo", *words)
    assert status == 0
    names = ["a.flo", "a_backward.flo", "a_occlusion.png", "a_warped.png", "p.png"]
    assert all((tmp_path / name).is_file() for name in names)
    backward, _ = flowzoo.read_flow(tmp_path / "a_backward.flo")
    np.testing.assert_array_equal(backward, expected_flow(weights, *frames[1::-1]))
    for name in names[2:]:
        assert Image.open(tmp_path / name).size == (90, 70)
    assert set(np.unique(np.asarray(Image.open(tmp_path / "a_occlusion.png")))) <= {0, 255}


def test_a_folder_in_batches_equals_its_pairs(weights, frames, tmp_path, capsys):
    out = tmp_path / "out"
    status, _, _ = run(capsys, "infer", frames[0].parent, "--weights", weights, "-o", out, "--batch-size", 3)
    assert status == 0
    stems = [path.stem for path in frames[:-1]]
    assert sorted(path.name for path in out.iterdir()) == sorted(f"{s}{e}" for s in stems for e in (".flo", ".png"))
    for first, second in itertools.pairwise(frames):
        flow, _ = flowzoo.read_flow(out / f"{first.stem}.flo")
        np.testing.assert_allclose(flow, expected_flow(weights, first, second), atol=1e-4)


def test_skip_existing_computes_only_what_is_missing(weights, frames, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["infer", frames[0].parent, "--weights", weights, "-o", out, "--max-flow", 3, "--skip-existing"]
    assert run(capsys, *words)[0] == 0
    kept, gone = out / "frame_8.flo", out / "frame_9.png"
    kept.write_bytes(b"untouched")
    gone.unlink()
    status, said, _ = run(capsys, *words)
    assert status == 0
    assert gone.is_file()
    assert kept.read_bytes() == b"untouched"
    assert "wrote 1 pair" in said
    assert "there already" in run(capsys, *words)[1]


def test_a_list_of_pairs_and_a_video(weights, frames, tmp_path, capsys):
    listing = tmp_path / "pairs.txt"
    listing.write_text("# two pairs\nframes/frame_8.png frames/frame_10.png\nframes/frame_9.png, frames/frame_8.png\n")
    assert run(capsys, "infer", "--pairs", listing, "--weights", weights, "-o", tmp_path / "out")[0] == 0
    flow, _ = flowzoo.read_flow(tmp_path / "out" / "frame_8.flo")
    np.testing.assert_array_equal(flow, expected_flow(weights, frames[0], frames[2]))
    pytest.importorskip("av")
    clip = tmp_path / "colours.mp4"
    assert run(capsys, "infer", frames[0].parent, "--weights", weights, "-o", clip)[0] == 0
    status, _, _ = run(capsys, "infer", clip, "--weights", weights, "-o", tmp_path / "again", "--format", "npy")
    assert status == 0
    assert len(list((tmp_path / "again").glob("*.npy"))) == 3


def test_scale_keeps_flow_in_pixels_of_the_input(weights, frames, tmp_path, capsys):
    out = tmp_path / "half.npy"
    assert run(capsys, "infer", *frames[:2], "--weights", weights, "-o", out, "--scale", 0.5)[0] == 0
    flow = np.load(out)
    assert flow.shape == (*SIZE, 2)
    small = [
        torch.nn.functional.interpolate(
            torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)[None] / 255,
            (35, 45),
            mode="bilinear",
            antialias=True,
        )
        for path in frames[:2]
    ]
    with torch.inference_mode():
        at_half = flowzoo.create("liteflownetx", weights)(*small).flow
    expected = torch.nn.functional.interpolate(2 * at_half, SIZE, mode="bilinear")[0].permute(1, 2, 0)
    np.testing.assert_allclose(flow, expected.numpy(), atol=1e-4)


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit(99)",))


def mistakes(tmp_path, frames, weights):
    """Name -> (words after `infer`, a part of the message)."""
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "cut.png").write_bytes(frames[0].read_bytes()[:500])
    Image.new("RGB", (40, 30)).save(tmp_path / "small.png")
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Evil()))
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    (tmp_path / "one").mkdir()
    Image.new("RGB", (40, 30)).save(tmp_path / "one" / "a.png")
    pair = [frames[0], frames[1]]
    with_weights = ["--weights", weights]
    return {
        "missing file": ([frames[0], tmp_path / "none.png", *with_weights], "none.png"),
        "folder as a file": ([frames[0], tmp_path, *with_weights], "folder"),
        "empty file": ([frames[0], tmp_path / "empty.png", *with_weights], "empty.png"),
        "truncated png": ([tmp_path / "cut.png", frames[1], *with_weights], "cut.png"),
        "text named png": ([tmp_path / "text.png", frames[1], *with_weights], "text.png"),
        "two sizes": ([frames[0], tmp_path / "small.png", *with_weights], "90x70"),
        "one frame": ([tmp_path / "one", *with_weights], "at least two"),
        "unknown model": ([*pair, "--model", "pwcnte", *with_weights], "did you mean 'pwcnet'"),
        "unknown setting": ([*pair, "--set", "matchign=no", *with_weights], "did you mean 'matching'"),
        "setting without value": ([*pair, "--set", "matching", *with_weights], "KEY=VALUE"),
        "another model's weights": ([*pair, "--model", "pwcnet", *with_weights], "liteflownetx"),
        "pickle with code": ([*pair, "--model", "pwcnet", "--weights", tmp_path / "evil.pth"], "evil.pth"),
        "left-over keys": ([*pair, "--model", "pwcnet", "--weights", tmp_path / "other.pth"], "other.pth"),
        "no weights": ([*pair, "--model", "pwcnet"], "no weights of its own"),
        "float16 on a cpu": ([*pair, *with_weights, "--device", "cpu", "--precision", "float16"], "float16"),
        "no such device": ([*pair, *with_weights, "--device", "tpu"], "--device"),
        "bad scale": ([*pair, *with_weights, "--scale", "0"], "scale"),
        "bad batch size": ([*pair, *with_weights, "--batch-size", "0"], "--batch-size"),
        "unknown suffix": ([*pair, *with_weights, "-o", tmp_path / "out" / "flow.xyz"], ".xyz"),
        "one file for many pairs": ([frames[0].parent, *with_weights, "-o", tmp_path / "out" / "x.flo"], "folder"),
        "output under a file": ([*pair, *with_weights, "-o", frames[0] / "flow.flo"], "cannot write"),
        "unknown option": ([*pair, *with_weights, "--pictrue"], "--pictrue"),
        "nothing": ([], "nothing to do"),
    }


@pytest.mark.parametrize(
    "name",
    [
        "missing file",
        "folder as a file",
        "empty file",
        "truncated png",
        "text named png",
        "two sizes",
        "one frame",
        "unknown model",
        "unknown setting",
        "setting without value",
        "another model's weights",
        "pickle with code",
        "left-over keys",
        "no weights",
        "float16 on a cpu",
        "no such device",
        "bad scale",
        "bad batch size",
        "unknown suffix",
        "one file for many pairs",
        "output under a file",
        "unknown option",
        "nothing",
    ],
)
def test_a_mistake_is_one_line_and_status_2_and_writes_nothing(name, weights, frames, tmp_path, capsys):
    words, part = mistakes(tmp_path, frames, weights)[name]
    if "-o" not in words:
        words = [*words, "-o", tmp_path / "out" / "flow.flo"] if name != "one frame" else words
    status, _, error = run(capsys, "infer", *words)
    assert status == 2
    assert len(error.splitlines()) == 1
    assert part in error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_without_cuda(weights, frames, capsys):
    status, _, error = run(capsys, "infer", *frames[:2], "--weights", weights, "--device", "cuda")
    assert status == 2
    assert "no CUDA" in error


def test_help_and_tables_start_without_torch():
    code = (
        "import sys; from flowzoo.cli import main; from flowzoo.cli.parser import VERBS\n"
        "for verb in VERBS:\n"
        "    assert main([verb, '--help']) == 0, verb\n"
        "assert not {'torch', 'numpy', 'PIL'} & set(sys.modules), 'help has imported more than it needs'\n"
        "for words in (['--help'], ['models'], ['models', 'pwcnet'], ['weights', 'list'], ['infer', '--help']):\n"
        "    assert main(words) == 0, words\n"
        "assert 'torch' not in sys.modules, 'torch was imported'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_only_complete_files(sent, weights, tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "frames").mkdir()
    for index in range(40):
        noise = rng.integers(0, 256, (180, 240, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "frames" / f"{index}.png")
    words = ["infer", tmp_path / "frames", "--weights", weights, "-o", tmp_path / "out", "--max-flow", "3"]
    process = subprocess.Popen(
        [sys.executable, "-m", "flowzoo", *map(str, words)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # Shells start background jobs deaf to SIGINT, and their children inherit it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while process.poll() is None and len(list((tmp_path / "out").glob("*.flo"))) < 3:
        time.sleep(0.01)
    process.send_signal(sent)
    _, error = process.communicate(timeout=60)
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[sent], error
    assert "Traceback" not in error
    assert error.rstrip().endswith("what was written is complete")
    written = list((tmp_path / "out").iterdir())
    assert 3 <= len(written) < 78
    for path in written:
        assert not path.name.startswith(".")
        assert flowzoo.read_flow(path)[1].all() if path.suffix == ".flo" else Image.open(path).convert("RGB")
