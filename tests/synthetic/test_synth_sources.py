"""Folders of photographs and cut-outs, procedural textures, shapes."""

import multiprocessing
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from flowzoo.errors import InputError
from flowzoo.synthetic import Cutouts, SceneSettings, SyntheticPairs, Textures, procedural_set
from flowzoo.synthetic.procedural import SIDE, procedural_texture
from flowzoo.synthetic.procedural_set import ProceduralSet
from flowzoo.synthetic.shapes import KINDS, signed_distance
from flowzoo.synthetic.textures import LONGEST


def write(path, picture):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


def test_photographs_are_found_below_the_folder_and_reduced(tmp_path):
    rng = np.random.default_rng(0)
    write(tmp_path / "b.png", rng.integers(0, 256, (40, 50, 3), dtype=np.uint8))
    write(tmp_path / "deep" / "a.jpg", np.full((100, 2000, 3), 90, np.uint8))
    (tmp_path / "notes.txt").write_text("not an image")
    textures = Textures(tmp_path, procedural=0)
    assert [path.name for path in textures.names] == ["b.png", "a.jpg"]
    assert textures.photographs[0].shape == (3, 40, 50)
    assert textures.photographs[1].shape == (3, 64, LONGEST)
    assert abs(float(textures.photographs[1].float().mean()) - 90) < 2


def test_unusable_folders_are_named(tmp_path):
    with pytest.raises(InputError, match="no image"):
        Textures(tmp_path)
    (tmp_path / "broken.png").write_bytes(b"this is no image")
    with pytest.raises(InputError, match=r"broken\.png"):
        Textures(tmp_path)
    with pytest.raises(InputError, match=r"broken\.png"):
        Cutouts(tmp_path)
    with pytest.raises(InputError, match="no textures"):
        Textures(None, procedural=0)


def test_too_small_a_photograph_is_named(tmp_path):
    write(tmp_path / "dot.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(InputError, match=r"dot\.png"):
        Textures(tmp_path)


def test_cutouts_need_alpha(tmp_path):
    write(tmp_path / "plain.png", np.zeros((40, 40, 3), np.uint8))
    with pytest.raises(InputError, match="alpha"):
        Cutouts(tmp_path)
    write(tmp_path / "plain.png", np.zeros((40, 40, 4), np.uint8))
    with pytest.raises(InputError, match="transparent"):
        Cutouts(tmp_path)


def test_a_cutout_keeps_its_colour_up_to_its_edge(tmp_path):
    """Premultiplied colours: nothing of the black under the transparent part shows."""
    picture = np.zeros((60, 60, 4), np.uint8)
    picture[15:45, 15:45] = (200, 40, 90, 255)
    write(tmp_path / "square.png", picture)
    settings = SceneSettings(
        objects=(3, 3), cutouts=1.0, size=(0.6, 0.6), haze=0.0, shadow=0.0, brightness=0.0, noise=0.0,
        low_texture=0.0, defocus=0.0, motion_blur=0.0, frame_blur=0.0, foreground=0.0, calm=1.0,
    )  # fmt: skip
    source = SyntheticPairs(Textures(None, procedural=2), tmp_path, (64, 64), settings, seed=1)
    assert all(layer.kind == "cutout" for layer in source.scene(0).layers[1:])
    frame = source.render([0]).first[0]
    green, red = frame[1], frame[0]
    inside = (red > 2 * green) & (red > 0.4)
    assert int(inside.sum()) > 100


@pytest.mark.parametrize("index", range(8))
def test_procedural_textures_are_reproducible_and_not_flat(index):
    texture = procedural_texture(5, index)
    assert texture.shape == (SIDE, SIDE, 3)
    assert texture.dtype == np.uint8
    assert np.array_equal(texture, procedural_texture(5, index))
    assert texture.std() > 3
    assert not np.array_equal(texture, procedural_texture(6, index))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
def test_a_procedural_texture_is_made_once_for_all_forked_processes(monkeypatch):
    """Whichever process needs it first; a pickled set, for processes that were not forked, makes the same."""
    textures, made = ProceduralSet(5, 3), []

    def counted(seed, index):
        made.append(index)
        return procedural_texture(seed, index)

    monkeypatch.setattr(procedural_set, "procedural_texture", counted)
    child = multiprocessing.get_context("fork").Process(target=textures.__getitem__, args=(1,))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    for entry in (textures, pickle.loads(pickle.dumps(textures))):
        assert np.array_equal(entry[1].permute(1, 2, 0), procedural_texture(5, 1))
        assert np.array_equal(entry[2].permute(1, 2, 0), procedural_texture(5, 2))
    assert made == [2, 1, 2]
    with pytest.raises(IndexError):
        textures[3]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_shapes_lie_inside_their_box_and_are_not_empty(kind, seed):
    height, width = 60, 96
    distance = signed_distance(kind, seed, height, width, 0.04)
    inside = distance > 0
    assert bool(distance.isfinite().all())
    assert 0.005 < float(inside.float().mean()) < 0.95
    border = torch.cat((inside[0], inside[-1], inside[:, 0], inside[:, -1]))
    assert not bool(border.any())


@pytest.mark.parametrize("kind", ["polygon", "bar", "twig", "frame"])
def test_distance_is_that_to_the_outline(kind):
    """Near the outline a signed distance grows by one pixel a pixel: so edges are one pixel wide."""
    side = 200
    distance = signed_distance(kind, 1, side, side, 0.05).numpy() * side / 2
    slope = np.hypot(*np.gradient(distance))
    near = np.abs(distance) < 3
    assert abs(np.median(slope[near]) - 1) < 0.02
