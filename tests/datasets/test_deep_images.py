"""Images with 16 bits a channel in data sets: all bits are used, or the file is refused by name; none is rounded."""

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from flowzoo.augmentation import Augmentation, AugmentationSettings
from flowzoo.datasets.catalogue import open_dataset
from flowzoo.datasets.clips.clip_dataset import FileFrames
from flowzoo.datasets.resampling import resize_bilinear, resize_lanczos
from flowzoo.errors import InputError
from flowzoo.evaluation.predictors import NetworkPredictor
from flowzoo.files.flow import write_flow
from flowzoo.files.images import write_image
from flowzoo.inference.estimator import Estimator
from flowzoo.network import FlowNetwork, FlowPrediction
from flowzoo.synthetic.textures import _cutout, _photograph
from flowzoo.training.flow.sources import DatasetSource

HEIGHT, WIDTH = 24, 32


def write_deep(path, image):
    assert cv2.imwrite(str(path), image[..., [2, 1, 0, *range(3, image.shape[2])]])


@pytest.fixture
def deep(tmp_path):
    """A list with one pair of 16-bit PNG, and what they hold."""
    images = np.random.default_rng(5).integers(0, 65536, (2, HEIGHT, WIDTH, 3)).astype(np.uint16)
    for name, image in zip(("a", "b"), images, strict=True):
        write_deep(tmp_path / f"{name}.png", image)
    write_flow(tmp_path / "a.flo", np.zeros((HEIGHT, WIDTH, 2), np.float32))
    (tmp_path / "pairs.txt").write_text("a.png b.png a.flo\n")
    return open_dataset("pairs", tmp_path / "pairs.txt"), images


def test_a_sample_holds_every_bit(deep):
    dataset, (first, second) = deep
    assert np.array_equal(dataset[0].first, first)
    assert np.array_equal(dataset[0].second, second)


def test_training_sees_every_bit(deep):
    dataset, (first, second) = deep
    sample = DatasetSource(dataset)[0]
    unchanged = Augmentation(AugmentationSettings(spatial=0.0, colour=0.0), (HEIGHT, WIDTH))(sample, 0, 0)
    for frame, stored in ((unchanged.first, first), (unchanged.second, second)):
        assert frame.dtype == torch.float32
        np.testing.assert_allclose(frame.permute(1, 2, 0).numpy(), stored / 65535, rtol=0, atol=1e-7)


def test_colour_changes_are_those_of_the_same_image_with_8_bits(deep):
    dataset, _ = deep
    sample = DatasetSource(dataset)[0]
    shallow = DatasetSource(dataset)[0]
    shallow.first, shallow.second = (
        (frame.int() / 257).round().to(torch.uint8) for frame in (sample.first, sample.second)
    )
    ranges = AugmentationSettings(
        spatial=0.0, common_contrast=0.4, common_gamma=(0.8, 1.2), common_hue=0.1, own_gain=0.2, common_brightness=0.1
    )
    for index in range(4):
        found, expected = (Augmentation(ranges, (HEIGHT, WIDTH))(part, 0, index) for part in (sample, shallow))
        assert (found.first - expected.first).abs().max() < 0.02
        assert not torch.equal(found.first, expected.first)


class Difference(FlowNetwork):
    """Flow is how much brighter the second image is, in 1/65535."""

    model_name = "difference"
    multiple = 1

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(65535.0))

    def predict(self, first: Tensor, second: Tensor) -> FlowPrediction:
        """The red and green channels'."""
        return FlowPrediction(flow=(second - first)[:, :2] * self.factor)


def test_a_network_is_evaluated_on_every_bit(deep):
    dataset, (first, second) = deep
    predictor = NetworkPredictor(Estimator(Difference()), dataset)
    ((flow, _),) = predictor.predict([predictor.load(dataset.pairs[0])])
    np.testing.assert_allclose(flow, second[..., :2].astype(float) - first[..., :2], rtol=0, atol=0.05)


@pytest.mark.parametrize("size", [(10, 13), (48, 70)])
@pytest.mark.parametrize("resize", [resize_bilinear, resize_lanczos])
def test_images_of_16_bits_are_resized_as_those_of_8(resize, size):
    # Not near the ends: Pillow cuts 8-bit values to 0..255 between its two passes.
    shallow = np.random.default_rng(2).integers(96, 160, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    deep = resize(shallow.astype(np.uint16) * 257, *size)
    assert deep.dtype == np.uint16
    assert np.abs(deep / 257 - resize(shallow, *size)).max() < 1.6
    assert (deep % 257).any()


def test_frames_of_clips_are_refused_by_name(tmp_path):
    image = np.zeros((8, 8, 3), np.uint16)
    write_deep(tmp_path / "f.png", image)
    write_image(tmp_path / "g.png", image.astype(np.uint8))
    frames = FileFrames((tmp_path / "f.png", tmp_path / "g.png"))
    with pytest.raises(InputError, match=r"f\.png holds 16 bits a channel.*save it with 8"):
        frames(0)
    assert frames(1).dtype == np.uint8


def test_photographs_and_cut_outs_are_refused_by_name(tmp_path):
    write_deep(tmp_path / "photo.png", np.zeros((100, 100, 3), np.uint16))
    write_deep(tmp_path / "thing.png", np.full((40, 40, 4), 65535, np.uint16))
    with pytest.raises(InputError, match=r"photo\.png holds 16 bits"):
        _photograph(tmp_path / "photo.png")
    with pytest.raises(InputError, match=r"thing\.png has no 8-bit alpha"):
        _cutout(tmp_path / "thing.png")
