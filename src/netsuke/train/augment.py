"""Augmentation of whole batches of 8-bit images on the device that trains, ending in the network's input."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from netsuke.artifact.contract import Error
from netsuke.data.preprocess import Preprocess
from netsuke.train.randaugment import RandAugment

# Columns of a draw, one row an image; RandAugment's columns follow.
ROW, COLUMN, FLIP, LIGHT = 0, 1, 2, slice(3, 6)
DRAWS = 6

# Principal components of the RGB pixels of ImageNet, in units of 1 = white (Krizhevsky et al. 2012, section 4.1; the
# values that Torch's published ImageNet training has used since). A column a component.
EIGENVALUES = (0.2175, 0.0188, 0.0045)
EIGENVECTORS = (
    (-0.5675, 0.7192, 0.4009),
    (-0.5808, -0.0045, -0.8140),
    (-0.5836, -0.6948, 0.4203),
)


class Augment:
    """Random crop, horizontal flip, RandAugment, PCA lighting, and always the normalisation, in this order.

    preprocess: the normalisation (its resize and crop are left to the data set, which decodes).
    crop_padding: pixels of black put on every side before a crop back to the image's own size (He et al. 2016,
    section 4.2, take 4 for CIFAR); 0 for no crop. flip: mirror half of the images. rand_augment: see that class.
    lighting: standard deviation of the PCA noise (AlexNet's 0.1), 0 for none. channels_last: the memory format of what
    comes out. Raises netsuke.Error for a padding or deviation below 0.

    Every image of a batch draws its own crop, flip and so on. All randomness is one table of uniform numbers, `draw`,
    made on the CPU: the same generator gives the same images on every device, and a rank that is to see its part of a
    larger batch can take its rows of the table.
    """

    def __init__(
        self,
        preprocess: Preprocess,
        crop_padding: int = 0,
        flip: bool = False,
        rand_augment: RandAugment | None = None,
        lighting: float = 0.0,
        channels_last: bool = False,
    ) -> None:
        if crop_padding < 0 or lighting < 0:
            raise Error(f"crop padding and lighting are 0 or more, not {crop_padding} and {lighting}")
        if lighting and len(preprocess.mean) != 3:
            raise Error(f"lighting is for images of 3 channels, not {len(preprocess.mean)}: set it to 0")
        self.preprocess = preprocess
        self.crop_padding = crop_padding
        self.flip = flip
        self.rand_augment = rand_augment
        self.lighting = lighting
        self.channels_last = channels_last
        self._constants: dict[torch.device, tuple[Tensor, Tensor, Tensor]] = {}

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """float32 (N, C, H, W), normalised, from uint8 (N, C, H, W) in RGB order, on their device. generator: CPU."""
        return self.apply(images, self.draw(len(images), generator))

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """The random numbers of `count` images: float64 (count, columns), uniform in [0, 1), on the CPU."""
        columns = DRAWS + (self.rand_augment.draws if self.rand_augment else 0)
        return torch.rand((count, columns), generator=generator, dtype=torch.float64)

    def apply(self, images: Tensor, draws: Tensor) -> Tensor:
        """What __call__ returns, with the random numbers given: float64 (N, columns) as `draw` makes them."""
        if self.crop_padding:
            images = crop(images, self.crop_padding, draws[:, ROW], draws[:, COLUMN])
        if self.flip:
            images = flip(images, draws[:, FLIP] < 0.5)
        if self.rand_augment:
            images = self.rand_augment(images, draws[:, DRAWS:], self._grey())
        return self._normalise(images, self._light(draws[:, LIGHT]) if self.lighting else None)

    def plain(self, images: Tensor) -> Tensor:
        """Only the normalisation, for evaluation: float32 (N, C, H, W) from uint8 (N, C, H, W) in RGB order."""
        return self._normalise(images, None)

    def _normalise(self, images: Tensor, light: Tensor | None) -> Tensor:
        """`netsuke.data.normalise` on tensors. light: float32 (N, C), added where 1 is white."""
        if images.shape[1] != len(self.preprocess.mean):
            raise Error(
                f"the images have {images.shape[1]} channels, the preprocessing is for {len(self.preprocess.mean)}"
            )
        divisor, mean, std = self._values(images.device)
        x = images.to(torch.float32).div_(divisor)
        if light is not None:
            x += light.to(images.device)[:, :, None, None] * self.preprocess.scale * 255
        if self.preprocess.order == "BGR":
            x = x.flip(1)
        x = x.sub_(mean).div_(std)
        return x.contiguous(memory_format=torch.channels_last) if self.channels_last else x

    def _values(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        if device not in self._constants:
            mean, std = (
                torch.tensor(v, device=device)[:, None, None] for v in (self.preprocess.mean, self.preprocess.std)
            )
            # A tensor, since a division by a number may be turned into a product, which rounds differently.
            self._constants[device] = (torch.tensor(1 / self.preprocess.scale, device=device), mean, std)
        return self._constants[device]

    def _light(self, draws: Tensor) -> Tensor:
        """sum_k v[:, k] * a[k] * l[k] with a ~ N(0, lighting): float32 (N, 3)."""
        amounts = self.lighting * torch.special.ndtri(draws.clamp(1e-12)) * torch.tensor(EIGENVALUES)
        return (amounts @ torch.tensor(EIGENVECTORS, dtype=amounts.dtype).T).float()

    def _grey(self) -> tuple[int, ...]:
        """The mean colour, 0 to 255 in RGB order, with which RandAugment fills what it moves in from outside."""
        colour = tuple(min(255, max(0, round(mean / self.preprocess.scale))) for mean in self.preprocess.mean)
        return colour[::-1] if self.preprocess.order == "BGR" else colour


def crop(images: Tensor, padding: int, rows: Tensor, columns: Tensor) -> Tensor:
    """A window of each image's own size out of the image with `padding` zero pixels around it.

    images: (N, C, H, W). rows, columns: (N,) in [0, 1), spread over the 2 * padding + 1 places each way.
    """
    places = 2 * padding + 1
    top, left = ((v * places).long().clamp(max=places - 1).to(images.device) for v in (rows, columns))
    height, width = images.shape[2:]
    windows = (
        pad(images, (padding,) * 4).unfold(2, height, 1).unfold(3, width, 1)
    )  # a view (N, C, places, places, H, W)
    return windows[torch.arange(len(images), device=images.device), :, top, left]


def flip(images: Tensor, chosen: Tensor) -> Tensor:
    """The images (N, C, H, W), those of `chosen`, bool (N,), mirrored left to right."""
    return torch.where(chosen.to(images.device)[:, None, None, None], images.flip(3), images)
