"""RandAugment (Cubuk et al. 2020) on batches of 8-bit images, each image with operations of its own.

The operations are Pillow's, on 0 to 255, bit for bit where they move no pixels. (kornia's RandAugment draws one
operation for a whole batch from torch's global generator, and has neither the noise nor the ranges of "inc1".)
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import conv2d, grid_sample

from netsuke.artifact.contract import Error

MAX_LEVEL = 10.0
DRAWS = 4  # of one image and layer: which operation, whether, how much, which sign


@dataclass(frozen=True)
class RandAugment:
    """`layers` operations an image, each one of `OPERATIONS` with equal chance, applied with `probability`.

    magnitude: 0 to 10. std: of the Gaussian noise on it, drawn for each image and layer; the sum is kept within 0 to
    10. The ranges are those that grow with the magnitude, timm's "inc1"; geometry is bilinear, and what comes in from
    outside is the mean colour. Raises netsuke.Error for values out of range.
    """

    magnitude: float = 7
    std: float = 0.5
    layers: int = 2
    probability: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.magnitude <= MAX_LEVEL or not 0 <= self.std < math.inf:
            raise Error(f"RandAugment's magnitude is 0 to 10 and its std 0 or more, not {self.magnitude}, {self.std}")
        if self.layers < 1 or not 0 <= self.probability <= 1:
            raise Error(f"RandAugment takes 1 layer or more, probability 0 to 1, not {self.layers}, {self.probability}")

    @staticmethod
    def parse(text: str) -> RandAugment:
        """From timm's notation, as in "rand-m7-mstd0.5-inc1" (BNext's): m, mstd, n (layers), p (probability), inc1."""
        name, *parts = text.split("-")
        found = [re.fullmatch(r"(m|mstd|n|p|inc)(\d+(?:\.\d+)?)", part) for part in parts]
        values = {match[1]: float(match[2]) for match in found if match}
        layers = values.get("n", 2.0)
        if name != "rand" or None in found or values.get("inc") != 1 or not layers.is_integer():
            raise Error(f"{text!r} is no RandAugment we have: write it as in 'rand-m7-n2-mstd0.5-inc1', inc1 included")
        return RandAugment(values.get("m", MAX_LEVEL), values.get("mstd", 0.0), int(layers), values.get("p", 0.5))

    @property
    def draws(self) -> int:
        """How many uniform numbers an image takes."""
        return DRAWS * self.layers

    def __call__(self, images: Tensor, draws: Tensor, fill: tuple[int, ...]) -> Tensor:
        """uint8 (N, C, H, W) from the same, C = 1 or 3. draws: (N, self.draws) uniform in [0, 1), on the CPU.

        fill: C numbers, 0 to 255.
        """
        if images.shape[1] not in (1, 3):
            raise Error(f"RandAugment is for images of 1 or 3 channels, not {images.shape[1]}")
        images = images.clone()
        colour = torch.tensor(fill, dtype=torch.uint8, device=images.device)[:, None, None]
        names = list(OPERATIONS)
        for which, whether, how_much, sign in draws.unflatten(1, (self.layers, DRAWS)).permute(1, 2, 0):
            operation = (which * len(names)).long().where(whether < self.probability, torch.tensor(-1))
            noise = self.std * torch.special.ndtri(how_much.clamp(1e-12))
            levels = (self.magnitude + noise).clamp(0, MAX_LEVEL)
            signs = torch.where(sign < 0.5, -1.0, 1.0)
            for index, name in enumerate(names):
                chosen = (operation == index).nonzero()[:, 0]
                if len(chosen):
                    amount, run = OPERATIONS[name]
                    amounts = amount(levels[chosen] / MAX_LEVEL, signs[chosen]).to(images.device, torch.float32)
                    places = chosen.to(images.device)
                    images[places] = run(images[places], amounts[:, None, None, None], colour)
        return images


# The operations: images uint8 (n, C, H, W), amount float32 (n, 1, 1, 1), colour uint8 (C, 1, 1) -> uint8 (n, C, H, W).


def _blend(images: Tensor, towards: Tensor, factor: Tensor) -> Tensor:
    """towards + factor * (images - towards), cut to 0 to 255 and rounded down, as Pillow blends."""
    base = towards.float()
    return (base + factor * (images.float() - base)).clamp(0, 255).to(torch.uint8)


def _grey(images: Tensor) -> Tensor:
    """The luma of ITU-R 601 in 16-bit fixed point: (n, 1, H, W)."""
    if images.shape[1] == 1:
        return images
    weights = torch.tensor([19595, 38470, 7471], dtype=torch.int32, device=images.device)[:, None, None]
    return (((images.int() * weights).sum(1, keepdim=True) + 0x8000) >> 16).to(torch.uint8)


def _brightness(images: Tensor, amount: Tensor, _: Tensor) -> Tensor:
    return _blend(images, torch.zeros_like(images), amount)


def _contrast(images: Tensor, amount: Tensor, _: Tensor) -> Tensor:
    mean = _grey(images).double().mean((1, 2, 3), keepdim=True)
    return _blend(images, (mean + 0.5).floor(), amount)


def _colour(images: Tensor, amount: Tensor, _: Tensor) -> Tensor:
    return _blend(images, _grey(images), amount)


def _sharpness(images: Tensor, amount: Tensor, _: Tensor) -> Tensor:
    """Away from or towards a 3x3 mean with weight 5 in the middle; the border stays."""
    if min(images.shape[2:]) < 3:
        return images
    channels = images.shape[1]
    kernel = torch.ones((channels, 1, 3, 3), device=images.device)
    kernel[:, :, 1, 1] = 5
    smooth = images.clone()
    total = conv2d(images.float(), kernel, groups=channels)
    smooth[:, :, 1:-1, 1:-1] = (total / 13 + 0.5).to(torch.uint8)
    return _blend(images, smooth, amount)


def _posterize(images: Tensor, bits: Tensor, _: Tensor) -> Tensor:
    """Keep the highest bits; without any the image is black."""
    unit = torch.exp2(8 - bits).int()
    return (images.int() // unit * unit).to(torch.uint8)


def _solarize(images: Tensor, threshold: Tensor, _: Tensor) -> Tensor:
    return torch.where(images < threshold, images, 255 - images)


def _solarize_add(images: Tensor, amount: Tensor, _: Tensor) -> Tensor:
    return torch.where(images < 128, (images + amount).clamp(max=255).to(torch.uint8), images)


def _invert(images: Tensor, _amount: Tensor, _: Tensor) -> Tensor:
    return 255 - images


def _look_up(images: Tensor, table: Tensor) -> Tensor:
    """table: (n, C, 256), what each of the 256 values becomes."""
    return table.to(torch.uint8).gather(2, images.flatten(2).long()).view_as(images)


def _auto_contrast(images: Tensor, _amount: Tensor, _: Tensor) -> Tensor:
    """Stretch each channel to 0 to 255."""
    flat = images.flatten(2).double()
    low, high = flat.amin(2, keepdim=True), flat.amax(2, keepdim=True)
    ramp = torch.arange(256, dtype=torch.float64, device=images.device)
    scale = torch.full_like(high, 255) / (high - low)  # `255 / x` would be 255 * (1 / x), rounded twice
    table = torch.where(high > low, ramp * scale - low * scale, ramp)
    return _look_up(images, table.clamp(0, 255))


def _equalize(images: Tensor, _amount: Tensor, _: Tensor) -> Tensor:
    """Spread each channel's values so that their counts become even."""
    values = images.flatten(2).long()
    counts = torch.zeros((*values.shape[:2], 256), dtype=torch.long, device=images.device)
    counts.scatter_add_(2, values, torch.ones_like(values))
    last = counts.gather(2, values.amax(2, keepdim=True))
    step = (values.shape[2] - last) // 255
    below = counts.cumsum(2) - counts
    ramp = torch.arange(256, device=images.device)
    table = torch.where(step > 0, (below + step // 2) // step.clamp(min=1), ramp)
    return _look_up(images, table.clamp(max=255))


def _warp(images: Tensor, x: Tensor, y: Tensor, colour: Tensor) -> Tensor:
    """Each pixel from the place (x, y) of the image, (n, H, W), pixel centres at halves; outside is `colour`."""
    height, width = images.shape[2:]
    grid = torch.stack((2 * x / width - 1, 2 * y / height - 1), dim=3)
    moved = grid_sample(images.float(), grid, "bilinear", "border", align_corners=False)
    inside = ((x >= 0) & (x < width) & (y >= 0) & (y < height))[:, None]
    # Pillow rounds down; a hair is added against what float32 loses on whole numbers.
    return torch.where(inside, (moved + 1e-3).clamp(max=255).to(torch.uint8), colour)


def _centres(images: Tensor) -> tuple[Tensor, Tensor]:
    """The x (W,) and y (H, 1) of the pixel centres."""
    height, width = images.shape[2:]
    x, y = (torch.arange(size, device=images.device) + 0.5 for size in (width, height))
    return x, y[:, None]


def _rotate(images: Tensor, degrees: Tensor, colour: Tensor) -> Tensor:
    """Counter-clockwise about the middle."""
    x, y = _centres(images)
    half_height, half_width = images.shape[2] / 2, images.shape[3] / 2
    angle = torch.deg2rad(degrees[:, 0])
    sine, cosine, x, y = torch.sin(angle), torch.cos(angle), x - half_width, y - half_height
    return _warp(images, cosine * x - sine * y + half_width, sine * x + cosine * y + half_height, colour)


def _shear_x(images: Tensor, amount: Tensor, colour: Tensor) -> Tensor:
    x, y = _centres(images)
    return _warp(images, x + amount[:, 0] * y, y.expand(len(images), -1, len(x)), colour)


def _shear_y(images: Tensor, amount: Tensor, colour: Tensor) -> Tensor:
    x, y = _centres(images)
    return _warp(images, x.expand(len(images), len(y), -1), y + amount[:, 0] * x, colour)


def _translate_x(images: Tensor, share: Tensor, colour: Tensor) -> Tensor:
    x, y = _centres(images)
    moved = x + share[:, 0] * images.shape[3]
    return _warp(images, moved.expand(-1, len(y), -1), y.expand(len(images), -1, len(x)), colour)


def _translate_y(images: Tensor, share: Tensor, colour: Tensor) -> Tensor:
    x, y = _centres(images)
    moved = y + share[:, 0] * images.shape[2]
    return _warp(images, x.expand(len(images), len(y), -1), moved.expand(-1, -1, len(x)), colour)


# From the level, (n,) in 0 to 1, and a sign of 1 or -1 to the operation's amount.


def _none(level: Tensor, _: Tensor) -> Tensor:
    return level


def _enhance(level: Tensor, sign: Tensor) -> Tensor:
    return (1 + sign * level * 0.9).clamp(min=0.1)


def _symmetric(largest: float) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda level, sign: sign * level * largest


OPERATIONS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor, Tensor, Tensor], Tensor]]] = {
    "AutoContrast": (_none, _auto_contrast),
    "Equalize": (_none, _equalize),
    "Invert": (_none, _invert),
    "Rotate": (_symmetric(30), _rotate),
    "Posterize": (lambda level, _: 4 - (level * 4).floor(), _posterize),
    "Solarize": (lambda level, _: 256 - (level * 256).floor(), _solarize),
    "SolarizeAdd": (lambda level, _: (level * 110).floor(), _solarize_add),
    "Color": (_enhance, _colour),
    "Contrast": (_enhance, _contrast),
    "Brightness": (_enhance, _brightness),
    "Sharpness": (_enhance, _sharpness),
    "ShearX": (_symmetric(0.3), _shear_x),
    "ShearY": (_symmetric(0.3), _shear_y),
    "TranslateX": (_symmetric(0.45), _translate_x),
    "TranslateY": (_symmetric(0.45), _translate_y),
}
