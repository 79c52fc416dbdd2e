"""ImageNet networks whose features compare images: VGG-19 and AlexNet, as lists of convolutions with taps.

Parameters have torchvision's names (`features.N.weight`), N counting ReLUs and maxima as layers, too.
"""

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from flowzoo.errors import InputError


class TappedFeatures(nn.Module):
    """Convolutions, ReLUs and maxima in a row; gives what leaves the ReLUs at `taps`.

    Args:
        layers: modules by their number in torchvision's `features`.
        taps: numbers of ReLUs, rising.
        smallest: least height and width of an image.
    """

    def __init__(self, layers: Sequence[nn.Module], taps: Sequence[int], smallest: int) -> None:
        super().__init__()
        self.features = nn.Sequential(*layers[: taps[-1] + 1])
        self.taps, self.smallest = tuple(taps), smallest
        self.requires_grad_(False)

    def load_published(self, state_dict: Mapping[str, Tensor]) -> None:
        """Take what is needed of a published state dict; later layers and `classifier.*` are left out.

        Raises:
            InputError: a tensor is missing or has another shape.
        """
        wanted = self.state_dict()
        for name, value in wanted.items():
            if name not in state_dict:
                raise InputError(f"these are no weights of this image network: {name} is missing")
            if state_dict[name].shape != value.shape:
                raise InputError(
                    f"these are no weights of this image network: {name} is {tuple(state_dict[name].shape)}, "
                    f"wanted {tuple(value.shape)}"
                )
        self.load_state_dict({name: state_dict[name] for name in wanted})

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B,3,H,W) -> features at the taps, fine to coarse.

        Raises:
            InputError: images that are too small to leave a pixel at the last tap.
        """
        if min(images.shape[-2:]) < self.smallest:
            raise InputError(
                f"images of {images.shape[-2]}x{images.shape[-1]} are too small to compare features: "
                f"each side needs at least {self.smallest} pixels"
            )
        found = []
        for number, layer in enumerate(self.features):
            images = F.relu(images) if isinstance(layer, nn.ReLU) else layer(images)
            if number in self.taps:
                found.append(images)
        return found


def vgg19() -> TappedFeatures:
    """VGG-19 (Simonyan, Zisserman, ICLR 2015) up to ReLU 5_1; taps behind ReLU 1_1, 2_1, 3_1, 4_1 and 5_1."""
    layers: list[nn.Module] = []
    inputs = 3
    for channels, count in ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4)):
        for _ in range(count):
            layers += [nn.Conv2d(inputs, channels, 3, padding=1), nn.ReLU()]
            inputs = channels
        layers.append(nn.MaxPool2d(2))
    return TappedFeatures(layers, taps=(1, 6, 11, 20, 29), smallest=16)


def alexnet() -> TappedFeatures:
    """AlexNet (Krizhevsky, "One weird trick", 2014) up to its fifth ReLU; taps behind all five."""
    layers = [
        nn.Conv2d(3, 64, 11, stride=4, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(64, 192, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(192, 384, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.ReLU(),
    ]
    return TappedFeatures(layers, taps=(1, 4, 7, 9, 11), smallest=31)
