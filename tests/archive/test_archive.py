"""Archives of videos: what is found, what is written, what is left, and what survives."""

import hashlib
import itertools
import json
import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from archive_samples import contents, make_archive, make_video

import flowzoo
from flowzoo.archive import Job, Worker, plan
from flowzoo.archive.motion import MotionScore
from flowzoo.archive.staging import staged, sweep
from flowzoo.archive.videos import find_videos, in_shard, parse_shard
from flowzoo.archive.writers import JpegFolder, ZarrArray
from flowzoo.cli import main
from flowzoo.errors import InputError
from flowzoo.files.images import read_image
from flowzoo.files.video import open_video


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return make_archive(tmp_path_factory.mktemp("archive") / "videos", 4)


@pytest.fixture(scope="module")
def flows(archive):
    """The right flow of every video."""
    found = {}
    for video in find_videos(archive):
        with open_video(video.path) as frames:
            pictures = list(frames)
        found[video.name] = [flowzoo.estimate("wren", *pair) for pair in itertools.pairwise(pictures)]
    return found


def infer(*words):
    return main(["infer", *map(str, words)])


def test_videos_of_a_folder_a_glob_a_list_and_by_name(archive, tmp_path):
    keys = ["clip_1.mp4", "clip_2.mp4", "day/clip_0.mp4", "day/clip_3.mp4"]
    assert [video.key for video in find_videos(archive)] == keys
    assert [video.name for video in find_videos(archive)] == [key.removesuffix(".mp4") for key in keys]
    assert [video.key for video in find_videos(f"{archive}/**/*.mp4")] == keys
    (tmp_path / "list.txt").write_text("# mine\n" + "".join(f"{archive / key}\n" for key in keys))
    assert [video.key for video in find_videos(tmp_path / "list.txt")] == keys
    assert [video.key for video in find_videos([archive / key for key in keys])] == keys
    assert [video.key for video in find_videos(archive, "*_3*")] == ["day/clip_3.mp4"]
    with pytest.raises(InputError, match="no videos"):
        find_videos(tmp_path)


def test_names_that_differ_by_suffix_alone_keep_it(tmp_path):
    for name in ("a.mp4", "A.avi", "b.mp4"):
        (tmp_path / name).write_bytes(b"x")
    assert sorted(video.name for video in find_videos(tmp_path)) == ["A.avi", "a.mp4", "b"]


@pytest.mark.parametrize("first", [0, 1])
def test_shards_are_apart_complete_and_always_the_same(archive, first):
    videos = find_videos(archive)
    shards = [[video.key for video in videos if in_shard(video, index, 3)] for index in range(first, first + 3)]
    assert sorted(itertools.chain(*shards)) == sorted(video.key for video in videos)
    # The first eight bytes of SHA-256, so no other machine and no later version may divide them in another way.
    assert [in_shard(video, 1, 2) for video in videos] == [
        int(hashlib.sha256(video.key.encode()).hexdigest()[:16], 16) % 2 == 1 for video in videos
    ]


@pytest.mark.parametrize("text", ["3", "4/3", "-1/3", "1/0", "a/b", "1/2/3"])
def test_no_shard(text):
    with pytest.raises(InputError, match="--shard is I/N"):
        parse_shard(text)


def test_zarr_holds_every_pair_to_a_64th_of_a_pixel(archive, flows, tmp_path, capsys):
    zarr = pytest.importorskip("zarr")
    assert infer(archive, "-o", tmp_path / "out", "--format", "zarr") == 0
    assert "4 videos done, 10 pairs" in capsys.readouterr().out
    for name, expected in flows.items():
        array = zarr.open_array(str(tmp_path / "out" / f"{name}.zarr"), mode="r")
        assert array.shape == (len(expected), 48, 64, 2)
        assert array.dtype == np.int16
        np.testing.assert_array_equal(array[:], np.rint(np.stack(expected) * 64))
        assert array.attrs["step"] == 1 / 64
        assert array.attrs["video"] == f"{name}.mp4"
        shards = [path for path in (tmp_path / "out" / f"{name}.zarr").rglob("*") if path.is_file()]
        assert len(shards) == 2  # the metadata and one shard


def test_long_videos_take_several_shards(tmp_path, monkeypatch):
    zarr = pytest.importorskip("zarr")
    monkeypatch.setattr("flowzoo.archive.writers.MOST_IN_SHARD", 2)
    flows = np.random.default_rng(0).normal(0, 30, (5, 6, 7, 2)).astype(np.float32)
    with ZarrArray(tmp_path / "a.zarr", (6, 7), False, {}) as writer:
        for flow in flows:
            writer.write(flow)
    np.testing.assert_array_equal(zarr.open_array(str(tmp_path / "a.zarr"), mode="r")[:], np.rint(flows * 64))


def test_zarr_refuses_flow_that_it_cannot_hold(tmp_path):
    pytest.importorskip("zarr")
    flow = np.full((3, 4, 2), 600, np.float32)
    with pytest.raises(InputError, match="does not fit"), ZarrArray(tmp_path / "a.zarr", (3, 4), False, {}) as writer:
        writer.write(flow)
    with ZarrArray(tmp_path / "b.zarr", (3, 4), True, {}) as writer:
        writer.write(flow)


def test_jpegs_are_denseflows(tmp_path):
    flow = np.zeros((16, 16, 2), np.float32)
    flow[..., 0], flow[..., 1] = 10, -25
    with JpegFolder(tmp_path / "clip", 20.0) as writer:
        writer.write(flow)
    assert sorted(path.name for path in (tmp_path / "clip").iterdir()) == ["flow_x_00000.jpg", "flow_y_00000.jpg"]
    assert abs(int(read_image(tmp_path / "clip" / "flow_x_00000.jpg")[0, 0, 0]) - round(255 * 30 / 40)) <= 1
    assert read_image(tmp_path / "clip" / "flow_y_00000.jpg").max() <= 1


def test_motion_scores_are_those_of_all_pixels(tmp_path):
    flows = np.random.default_rng(1).gamma(2, 3, (3, 20, 30, 2)).astype(np.float32)
    score = MotionScore()
    for flow in flows:
        score.add(flow)
    lengths = np.hypot(flows[..., 0], flows[..., 1])
    found = score.scores()
    assert found["mean"] == pytest.approx(lengths.mean(), rel=1e-6)
    assert found["max"] == pytest.approx(lengths.max())
    assert found["mean_relative"] == pytest.approx(lengths.mean() / np.hypot(20, 30), rel=1e-6)
    for percent in (5, 25, 50, 75, 90, 95, 99):
        assert found[f"p{percent}"] == pytest.approx(np.percentile(lengths, percent, method="inverted_cdf"), abs=1 / 64)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_a_table_of_scores_without_any_flow(archive, flows, tmp_path, suffix):
    table = tmp_path / f"scores{suffix}"
    assert infer(archive, "-o", tmp_path / "out", "--format", "none", "--motion-score", table) == 0
    if suffix == ".parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        rows = parquet.read_table(table).to_pylist()
    elif suffix == ".jsonl":
        rows = [json.loads(line) for line in table.read_text().splitlines()]
    else:
        head, *lines = [line.split(",") for line in table.read_text().splitlines()]
        rows = [dict(zip(head, line, strict=True)) for line in lines]
    assert [row["video"] for row in rows] == [f"{name}.mp4" for name in flows]
    lengths = np.hypot(*np.stack(flows["clip_2"]).transpose(3, 0, 1, 2))
    assert float(rows[1]["mean"]) == pytest.approx(lengths.mean(), rel=1e-5)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {".flowzoo"}


def test_what_should_be_known_of_a_video_stands_in_its_line(tmp_path, capsys):
    av = pytest.importorskip("av")
    path = tmp_path / "deep.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "gray16le"
        for index in range(2):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64), 300 * index, np.uint16), format="gray16le")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert infer(tmp_path, "-o", tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert f" s; {path} holds 16 bits a channel: its frames are taken with 8\n" in said


def test_two_shards_are_the_whole_and_their_files_are_apart(archive, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert infer(archive, "-o", whole, "--motion-score", tmp_path / "all.csv") == 0
    for shard in ("1/2", "2/2"):
        assert infer(archive, "-o", parts, "--shard", shard, "--motion-score", tmp_path / "part.csv") == 0
    assert contents(whole) == contents(parts)
    lines = [set((tmp_path / name).read_text().splitlines()) for name in ("part-1-of-2.csv", "part-2-of-2.csv")]
    assert lines[0] | lines[1] == set((tmp_path / "all.csv").read_text().splitlines())


def test_what_is_there_is_left_if_it_is_of_this_video_with_these_settings(tmp_path, capsys):
    videos, out = make_archive(tmp_path / "videos", 2), tmp_path / "out"
    words = (videos, "-o", out, "--skip-existing")
    assert infer(*words) == 0
    before = contents(out)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.flo")}
    assert infer(*words) == 0
    assert "0 videos done, 0 pairs; 2 there already" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.flo")} == times
    make_video(videos / "clip_1.mp4", 77)
    assert infer(*words) == 0
    assert "1 video done, 2 pairs; 1 there already" in capsys.readouterr().out
    assert infer(*words, "--scale", "0.5") == 0
    assert "2 videos done" in capsys.readouterr().out
    for path in (out / "clip_1").iterdir():
        path.unlink()
    (out / "clip_1").rmdir()
    assert infer(*words, "--scale", "0.5") == 0
    assert "1 video done" in capsys.readouterr().out
    assert contents(out).keys() == before.keys() - {"clip_1/000002.flo"}


def test_a_video_that_fails_is_listed_and_the_others_are_done(archive, tmp_path, capsys):
    videos = make_archive(tmp_path / "videos", 2)
    (videos / "broken.mp4").write_bytes((videos / "clip_1.mp4").read_bytes()[:900])
    out = tmp_path / "out"
    assert infer(videos, "-o", out, "--continue-on-error") == 0
    said = capsys.readouterr().out
    assert "2 videos done" in said
    assert "1 failed, listed in" in said
    (row,) = [json.loads(line) for line in (out / "failures.jsonl").read_text().splitlines()]
    assert row["video"] == "broken.mp4"
    assert "\n" not in row["error"]
    assert sorted(path.name for path in out.iterdir()) == [".flowzoo", "clip_1", "day", "failures.jsonl"]
    assert infer(videos, "-o", out) == 2
    assert "--continue-on-error goes on" in capsys.readouterr().err
    (videos / "broken.mp4").unlink()
    assert infer(videos, "-o", out, "--continue-on-error") == 0
    assert not (out / "failures.jsonl").exists()


def test_a_killed_run_leaves_nothing_half_made_and_the_next_one_completes_it(tmp_path):
    videos, out = make_archive(tmp_path / "videos", 3), tmp_path / "out"
    make_video(videos / "zlast.mp4", 5, 25)
    assert infer(videos, "-o", tmp_path / "right") == 0
    command = [sys.executable, "-m", "flowzoo", "infer", str(videos), "-o", str(out)]
    # As many threads as the tests have: another number changes the last bits of PyTorch's convolutions.
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"})
    partial = out / ".flowzoo" / "partial"
    while not any(place.glob("zlast/000001.flo") for place in partial.glob("*") if list(place.glob("zlast/*"))):
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "zlast").exists()
    assert infer(videos, "-o", out, "--skip-existing") == 0
    assert contents(out) == contents(tmp_path / "right")


def test_staging_keeps_what_was_there_until_the_new_is_whole(tmp_path):
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "old").touch()
    made = staged(tmp_path / "clip", tmp_path)
    place = made.__enter__()
    place.mkdir()
    (place / "new").touch()
    assert not made.__exit__(InputError, InputError("stop"), None)
    assert [path.name for path in (tmp_path / "clip").iterdir()] == ["old"]
    with staged(tmp_path / "clip", tmp_path) as place:
        place.mkdir()
        (place / "new").touch()
    assert [path.name for path in (tmp_path / "clip").iterdir()] == ["new"]
    sweep(tmp_path)
    assert list((tmp_path / ".flowzoo").iterdir()) == []


def test_a_folder_that_cannot_be_replaced_stays(tmp_path, monkeypatch):
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "old").touch()

    def full(made, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match="No space left"), staged(tmp_path / "clip", tmp_path) as place:
        place.mkdir()
    assert [path.name for path in (tmp_path / "clip").iterdir()] == ["old"]


def test_a_plan_runs_on_any_engine_and_can_be_sent(archive, tmp_path):
    planned = pickle.loads(pickle.dumps(plan(archive, tmp_path / "out", format="flo")))

    def backwards(given):
        worker = Worker(given.job)
        yield from map(worker, reversed(given.mine()))

    summary = planned(backwards, say=lambda line: None)
    assert (summary.done, summary.skipped, summary.failed, summary.pairs) == (4, 0, 0, 10)
    assert isinstance(planned.job, Job)
    assert flowzoo.archive.infer(archive, tmp_path / "out", format="flo", say=print).skipped == 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--format", "zarr", "--backward"], "--backward: an archive has one result"),
        (["--bound", "9"], "--bound is of --format jpeg"),
        (["--format", "jpeg", "--bound", "0"], "above 0 pixels"),
        (["--format", "none"], "name their table"),
        (["--motion-score", "x.xlsx"], ".parquet, .csv, .jsonl"),
        (["--shard", "9/3"], "--shard is I/N"),
        (["--workers", "2"], "are of --engine ray"),
        (["--max-flow", "3"], "--max-flow is of --format mp4"),
    ],
)
def test_mistakes_are_one_line(words, said, archive, tmp_path, capsys):
    assert infer(archive, "-o", tmp_path / "out", *words) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_results_never_lie_among_the_videos(archive, capsys):
    before = contents(archive)
    assert infer(archive, "-o", archive, "--format", "mp4") == 2
    assert "lies in the output folder" in capsys.readouterr().err
    assert contents(archive) == before
