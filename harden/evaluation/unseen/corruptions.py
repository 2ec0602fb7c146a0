"""Fifteen common corruptions in five severities, for images of any size (Hendrycks and Dietterich 2019, arXiv
1903.12261, section 4.1), made here: no pictures are fetched, frost and snow are drawn.

Strengths follow the paper's idea, severity 3 plainly visible, and scale with the image's side; they are not the
CIFAR-10-C files, and figures on them are not to be compared with figures on those.
"""

import io
import math
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from harden.errors import ConfigError
from harden.seeds import Stream

SEVERITIES = (1, 2, 3, 4, 5)

Corruption = Callable[[Tensor, int, Stream], Tensor]


def corrupt(x: Tensor, name: str, severity: int, *, rng: Stream) -> Tensor:
    """`x` with the corruption `name` of a severity from 1 to 5, (n, c, h, w) in 0..1, as x is.

    What is random depends on `rng` and the sample's id alone. Raises ConfigError for a name that is not one of
    `CORRUPTIONS`, or another severity.
    """
    if name not in KINDS:
        raise ConfigError(f"there is no corruption '{name}'; there are: {', '.join(CORRUPTIONS)}")
    if severity not in SEVERITIES:
        raise ConfigError(f"a corruption's severity runs from 1 to 5, got {severity}")
    return KINDS[name](x, severity, rng.child(name)).clamp(0, 1)


def _pick(severity: int, *values: float) -> float:
    return values[severity - 1]


def _side(x: Tensor) -> int:
    return min(x.shape[2:])


def _gaussian_noise(x: Tensor, severity: int, rng: Stream) -> Tensor:
    return x + _pick(severity, 0.06, 0.1, 0.15, 0.2, 0.27) * rng.normal(x)


def _shot_noise(x: Tensor, severity: int, rng: Stream) -> Tensor:
    """Poisson counts at so many photons a pixel, by the Gaussian that is near them."""
    photons = _pick(severity, 60, 30, 15, 9, 5)
    return x + (x / photons).sqrt() * rng.normal(x)


def _impulse_noise(x: Tensor, severity: int, rng: Stream) -> Tensor:
    share = _pick(severity, 0.03, 0.06, 0.1, 0.16, 0.25)
    draw = rng.uniform(x)
    return torch.where(draw < share / 2, 0.0, torch.where(draw > 1 - share / 2, 1.0, x))


def _defocus_blur(x: Tensor, severity: int, _rng: Stream) -> Tensor:
    radius = _pick(severity, 0.02, 0.03, 0.045, 0.06, 0.08) * _side(x) + 0.4
    reach = math.ceil(radius)
    at = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
    away = (at[:, None] ** 2 + at**2).sqrt()
    return _filtered(x, (radius + 0.5 - away).clamp(0, 1))


def _glass_blur(x: Tensor, severity: int, rng: Stream) -> Tensor:
    """Each pixel looks a little beside itself, and then all is blurred a little."""
    reach = _pick(severity, 0.025, 0.035, 0.05, 0.065, 0.085) * 2
    return _blurred(_looked_up(x, (rng.uniform(_field(x)) * 2 - 1) * reach), 0.4 + 0.05 * severity)


def _motion_blur(x: Tensor, severity: int, rng: Stream) -> Tensor:
    """The mean along a line of its own direction for each image."""
    length = _pick(severity, 0.1, 0.15, 0.2, 0.27, 0.35)
    turn = rng.uniform(x[:, :1, 0, 0]) * math.pi
    way = torch.cat([turn.cos(), turn.sin()], dim=1)[:, None, None, :]
    steps = torch.linspace(-length, length, 9).tolist()
    return torch.stack([_looked_up(x, (step * way).expand(-1, *x.shape[2:], -1)) for step in steps]).mean(dim=0)


def _zoom_blur(x: Tensor, severity: int, _rng: Stream) -> Tensor:
    most = _pick(severity, 0.06, 0.11, 0.16, 0.21, 0.31)
    return torch.stack([_zoomed(x, 1 + most * step / 6) for step in range(7)]).mean(dim=0)


def _snow(x: Tensor, severity: int, rng: Stream) -> Tensor:
    """Flakes, drawn out by the wind, over an image that has paled."""
    share = _pick(severity, 0.02, 0.04, 0.06, 0.09, 0.13)
    flakes = (rng.uniform(x[:, :1]) < share).to(x.dtype)
    flakes = _filtered(flakes, torch.eye(3, dtype=x.dtype, device=x.device)) * 3
    pale = x + (1 - x) * _pick(severity, 0.08, 0.12, 0.17, 0.22, 0.3)
    return pale + flakes * 0.8


def _frost(x: Tensor, severity: int, rng: Stream) -> Tensor:
    """Crystals: ridges of smooth noise, white, over part of the image."""
    noise = _smooth_noise(x, rng, cells=4) + 0.5 * _smooth_noise(x, rng.child("fine"), cells=8)
    ridges = (1 - (noise - noise.mean(dim=(2, 3), keepdim=True)).abs() * 3).clamp(0, 1)
    cover = _pick(severity, 0.25, 0.35, 0.45, 0.55, 0.65)
    return x * (1 - 0.5 * cover) + ridges * cover


def _fog(x: Tensor, severity: int, rng: Stream) -> Tensor:
    thick = _pick(severity, 0.25, 0.35, 0.45, 0.55, 0.68)
    haze = 0.6 + 0.4 * _smooth_noise(x, rng, cells=3)
    return x * (1 - thick) + haze * thick


def _brightness(x: Tensor, severity: int, _rng: Stream) -> Tensor:
    return x + _pick(severity, 0.08, 0.16, 0.24, 0.33, 0.43)


def _contrast(x: Tensor, severity: int, _rng: Stream) -> Tensor:
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (x - mean) * _pick(severity, 0.7, 0.55, 0.4, 0.28, 0.18)


def _elastic_transform(x: Tensor, severity: int, rng: Stream) -> Tensor:
    """Pixels shifted by a smooth field."""
    reach = _pick(severity, 0.06, 0.09, 0.13, 0.17, 0.22)
    fields = [_smooth_noise(x, rng.child(axis), cells=4) * 2 - 1 for axis in ("across", "down")]
    return _looked_up(x, torch.cat(fields, dim=1).permute(0, 2, 3, 1) * reach)


def _pixelate(x: Tensor, severity: int, _rng: Stream) -> Tensor:
    share = _pick(severity, 0.8, 0.67, 0.55, 0.45, 0.35)
    size = [max(round(share * side), 2) for side in x.shape[2:]]
    small = F.interpolate(x, size=size, mode="bilinear", antialias=True)
    return F.interpolate(small, size=x.shape[2:], mode="nearest-exact")


def _jpeg_compression(x: Tensor, severity: int, _rng: Stream) -> Tensor:
    quality = int(_pick(severity, 50, 30, 18, 11, 6))
    arrays = (x.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return torch.from_numpy(np.stack([_through_jpeg(one, quality) for one in arrays])).to(x).permute(0, 3, 1, 2) / 255


def _through_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """One image, (h, w, c) uint8, stored and read again; channels other than 1 or 3 one by one."""
    if image.shape[2] not in (1, 3):
        return np.concatenate([_through_jpeg(image[:, :, [c]], quality) for c in range(image.shape[2])], axis=2)
    file = io.BytesIO()
    Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file)).reshape(image.shape)


KINDS: dict[str, Corruption] = {
    "gaussian_noise": _gaussian_noise,
    "shot_noise": _shot_noise,
    "impulse_noise": _impulse_noise,
    "defocus_blur": _defocus_blur,
    "glass_blur": _glass_blur,
    "motion_blur": _motion_blur,
    "zoom_blur": _zoom_blur,
    "snow": _snow,
    "frost": _frost,
    "fog": _fog,
    "brightness": _brightness,
    "contrast": _contrast,
    "elastic_transform": _elastic_transform,
    "pixelate": _pixelate,
    "jpeg_compression": _jpeg_compression,
}

CORRUPTIONS: tuple[str, ...] = tuple(KINDS)


def _field(x: Tensor) -> Tensor:
    """Something in the shape of a shift for each pixel, (n, h, w, 2)."""
    return x.new_empty(len(x), *x.shape[2:], 2)


def _looked_up(x: Tensor, shift: Tensor) -> Tensor:
    """Each pixel from where `shift` points, (n, h, w, 2) in half sides."""
    unit = torch.eye(2, 3, dtype=x.dtype, device=x.device).expand(len(x), 2, 3)
    place = F.affine_grid(unit, list(x.shape), align_corners=False) + shift
    return F.grid_sample(x, place, padding_mode="border", align_corners=False)


def _zoomed(x: Tensor, factor: float) -> Tensor:
    unit = torch.eye(2, 3, dtype=x.dtype, device=x.device).expand(len(x), 2, 3) / factor
    return F.grid_sample(x, F.affine_grid(unit, list(x.shape), align_corners=False), align_corners=False)


def _filtered(x: Tensor, kernel: Tensor) -> Tensor:
    """x under a kernel of sum 1, its border repeated."""
    kernel = kernel / kernel.sum()
    reach, channels = kernel.shape[0] // 2, x.shape[1]
    padded = F.pad(x, (reach, reach, reach, reach), mode="replicate")
    return F.conv2d(padded, kernel.expand(channels, 1, -1, -1), groups=channels)


def _blurred(x: Tensor, sigma: float) -> Tensor:
    at = torch.arange(-2, 3, dtype=x.dtype, device=x.device)
    line = torch.exp(-(at**2) / (2 * sigma**2))
    return _filtered(x, line[:, None] * line)


def _smooth_noise(x: Tensor, rng: Stream, *, cells: int) -> Tensor:
    """Smooth noise in 0..1, (n, 1, h, w): a coarse grid of random values, widened."""
    coarse = rng.uniform(x.new_empty(len(x), 1, cells + 1, cells + 1))
    return F.interpolate(coarse, size=x.shape[2:], mode="bicubic", align_corners=True).clamp(0, 1)
