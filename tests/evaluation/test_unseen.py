"""Corruptions that grow with severity and know no batch; rotations and shifts that find the worst of a grid."""

import pytest
import torch
from torch import Tensor

from harden.errors import ConfigError
from harden.evaluation.unseen import CORRUPTIONS, SEVERITIES, Spatial, corrupt, spatial
from harden.seeds import stream

IDS = torch.arange(12)


def images(*shape: int) -> Tensor:
    """Smooth shapes on a dark ground, as photographs and digits are."""
    rng = torch.Generator().manual_seed(0)
    coarse = torch.rand(len(IDS), shape[0], 4, 4, generator=rng)
    return torch.nn.functional.interpolate(coarse, size=shape[1:], mode="bilinear").clamp(0, 1)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 8, 8)], ids=str)
def test_a_corruption_grows_with_its_severity_and_stays_in_the_box(name: str, shape: tuple[int, int, int]) -> None:
    x, rng = images(*shape), stream(0).at(IDS)
    changed = [corrupt(x, name, severity, rng=rng) for severity in SEVERITIES]
    sizes = [float((one - x).flatten(1).norm(dim=1).mean()) for one in changed]
    assert sizes[0] > 0
    if (name, shape) != ("pixelate", (1, 8, 8)):  # a side of 8 has fewer whole numbers below it than severities
        assert sizes == sorted(sizes)
    assert sizes[-1] > 1.3 * sizes[0]
    for one in changed:
        assert one.shape == x.shape
        assert one.min() >= 0
        assert one.max() <= 1


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_an_image_is_corrupted_alike_in_any_company(name: str) -> None:
    x = images(1, 28, 28)
    together = corrupt(x, name, 3, rng=stream(4).at(IDS))
    alone = corrupt(x[5:6], name, 3, rng=stream(4).at(IDS[5:6]))
    torch.testing.assert_close(alone, together[5:6], rtol=0, atol=1e-6)


def test_names_and_severities_that_are_not_there_are_refused() -> None:
    with pytest.raises(ConfigError, match="there is no corruption 'rain'"):
        corrupt(images(1, 8, 8), "rain", 1, rng=stream(0).at(IDS))
    with pytest.raises(ConfigError, match="from 1 to 5, got 6"):
        corrupt(images(1, 8, 8), "fog", 6, rng=stream(0).at(IDS))


def _left_or_right(x: Tensor) -> Tensor:
    half = x.shape[3] // 2
    return torch.stack([x[..., :half].sum((1, 2, 3)), x[..., half:].sum((1, 2, 3))], dim=1)


def test_a_dot_near_the_middle_is_shifted_across_and_one_far_away_is_not() -> None:
    x = torch.zeros(2, 1, 20, 20)
    x[0, 0, 10, 9] = 1.0
    x[1, 0, 10, 2] = 1.0
    robust, worst = spatial(_left_or_right, x, torch.tensor([0, 0]), Spatial(degrees=0, angles=1, share=0.1, shifts=5))
    assert robust.tolist() == [False, True]
    assert _left_or_right(worst[:1]).argmax(1).item() == 1
    torch.testing.assert_close(worst[1], x[1])


def test_the_image_itself_is_a_point_of_the_grid() -> None:
    x = images(1, 8, 8)
    wrong = (_left_or_right(x).argmax(1) + 1) % 2
    robust, _ = spatial(_left_or_right, x, wrong, Spatial(degrees=30, angles=2, share=0.1, shifts=2))
    assert not robust.any()


def test_a_quarter_turn_goes_where_it_should() -> None:
    x = torch.zeros(1, 1, 9, 9)
    x[0, 0, 4, 7] = 1.0

    def above(z: Tensor) -> Tensor:
        return torch.stack([z[:, :, :3].sum((1, 2, 3)) + z[:, :, 6:].sum((1, 2, 3)), z[:, :, 3:6].sum((1, 2, 3))], 1)

    robust, worst = spatial(above, x, torch.tensor([1]), Spatial(degrees=90, angles=3, share=0, shifts=1))
    assert not robust.item()
    assert worst[0, 0, [1, 7], 4].max() > 0.9
