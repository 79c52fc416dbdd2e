"""Training on both directions: ground truth of the reverse pair, through augmentation, to the loss."""

import numpy as np
import pytest
import torch

from flowzoo import registry
from flowzoo.augmentation import Augmentation, AugmentationSettings, TrainingSample, collate
from flowzoo.blocks.directions import reverse_of
from flowzoo.errors import InputError
from flowzoo.files.flow import write_flow
from flowzoo.files.images import write_image
from flowzoo.synthetic import SceneSettings, SyntheticPairs
from flowzoo.training.flow.objective import make_loss
from flowzoo.training.flow.settings import LossSettings
from flowzoo.training.flow.sources import open_source


def moved_pair() -> TrainingSample:
    """An affine motion and its exact inverse."""
    rows, columns = np.mgrid[:48, :64].astype(np.float64)
    points = np.stack([columns, rows, np.ones_like(rows)], axis=-1)
    motion = np.array([[1.02, 0.03, 2.0], [-0.02, 0.98, -1.0], [0, 0, 1]])
    flow, reverse = (
        torch.from_numpy((points @ matrix.T - points)[..., :2]).permute(2, 0, 1).float()
        for matrix in (motion, np.linalg.inv(motion))
    )
    valid = torch.ones(48, 64, dtype=torch.bool)
    frames = torch.zeros(2, 3, 48, 64, dtype=torch.uint8)
    return TrainingSample(frames[0], frames[1], flow, valid, reverse=torch.cat([reverse, valid[None].float()]))


@pytest.mark.parametrize(
    "settings",
    [AugmentationSettings(horizontal_flip=1.0), AugmentationSettings.chairs(), AugmentationSettings.flownet2()],
    ids=["flip", "chairs", "flownet2"],
)
def test_flow_and_reverse_stay_inverse_to_each_other(settings):
    for index in range(4):
        changed = Augmentation(settings, (32, 40), seed=2)(moved_pair(), 0, index)
        # An affine motion is found from both fields and must cancel.
        rows, columns = np.mgrid[:32, :40].astype(np.float64)
        points = np.stack([columns, rows, np.ones_like(rows)], axis=-1)
        matrices = []
        for flow, known in ((changed.flow, changed.valid), (changed.reverse[:2], changed.reverse[2] > 0)):
            mask = known.numpy()
            ends = points[mask][:, :2] + flow.numpy()[:, mask].T
            matrices.append(np.linalg.lstsq(points[mask], ends, rcond=None)[0].T)
        full = [np.vstack([matrix, [0, 0, 1]]) for matrix in matrices]
        np.testing.assert_allclose(full[0] @ full[1], np.eye(3), atol=2e-2)
        assert abs(full[0] - np.eye(3)).max() > 0.05


def test_pairs_that_are_each_others_reverse_become_one_sample(tmp_path):
    for index in range(3):
        write_image(tmp_path / f"{index}.png", np.full((8, 12, 3), 50 * index, np.uint8))
    for value, name in enumerate(("f01", "f10", "f12")):
        write_flow(tmp_path / f"{name}.flo", np.full((8, 12, 2), value + 1, np.float32))
    (tmp_path / "pairs.txt").write_text("0.png 1.png f01.flo\n1.png 2.png f12.flo\n1.png 0.png f10.flo\n")
    assert len(open_source("pairs", tmp_path)) == 3
    source = open_source("pairs", tmp_path, both_directions=True)
    assert len(source) == 1
    assert (source[0].flow == 1).all()
    assert (source[0].reverse[:2] == 2).all()
    assert (source[0].reverse[2] == 1).all()
    assert collate([source[0]]).to("cpu").reverse.shape == (1, 3, 8, 12)
    (tmp_path / "pairs.txt").write_text("0.png 1.png f01.flo\n")
    with pytest.raises(InputError, match="both directions"):
        open_source("pairs", tmp_path, both_directions=True)


@pytest.mark.parametrize("name", ["pwcnet", "liteflownet2", "hd3"])
def test_losses_of_both_directions_are_averaged(name):
    torch.manual_seed(0)
    network = registry.build(name, both_directions=True).eval()
    plain = registry.build(name).eval()
    plain.load_state_dict(network.state_dict())
    first, second = torch.rand(2, 1, 3, 64, 64)
    truth = torch.randn(2, 1, 2, 64, 64)
    known = torch.ones(1, 64, 64, dtype=torch.bool)
    weights = {"loss": "density", "level_weights": (1.0,) * 5} if name == "hd3" else {"level_weights": (0.1,) * 5}
    loss = make_loss(LossSettings(**weights))
    with torch.no_grad():
        both = network(first, second)
        found = loss(both, truth[0], known, None, torch.cat([truth[1], known[None].float()], dim=1))
        singles = [loss(plain(first, second), truth[0], known), loss(plain(second, first), truth[1], known)]
    torch.testing.assert_close(found, sum(singles) / 2, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(reverse_of(both).flow, both.details["backward"])


def test_a_network_of_one_direction_is_named():
    network = registry.build("pwcnet").eval()
    with torch.no_grad():
        prediction = network(*torch.rand(2, 1, 3, 64, 64))
    with pytest.raises(InputError, match="both_directions"):
        make_loss(LossSettings())(
            prediction, torch.zeros(1, 2, 64, 64), torch.ones(1, 64, 64), None, torch.zeros(1, 3, 64, 64)
        )


def test_rendered_pairs_know_both_directions(tmp_path):
    """The reverse is the flow of the same scene played backwards."""
    write_image(tmp_path / "photograph.png", np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8))
    source = open_source("scenes", tmp_path, both_directions=True)
    pairs = SyntheticPairs(tmp_path, size=(288, 384)).render([1])
    sample, backwards = source[1], pairs.reversed()
    torch.testing.assert_close(sample.flow, pairs.flow[0])
    torch.testing.assert_close(sample.reverse[:2], backwards.flow[0])
    assert torch.equal(sample.reverse[2] > 0, backwards.valid[0])
    assert open_source("scenes", tmp_path)[1].reverse is None


def test_scenes_have_variants_by_name(tmp_path):
    write_image(tmp_path / "photograph.png", np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8))
    plain, fast = open_source("scenes", tmp_path), open_source("scenes/fast", tmp_path)
    assert plain.settings == SceneSettings()
    assert fast.settings == SceneSettings.fast()
    assert plain.textures is fast.textures  # read once for all sources
    for name in ("scenes/fats", "static/fast"):
        with pytest.raises(InputError, match=r"fats|fast"):
            open_source(name, tmp_path)
