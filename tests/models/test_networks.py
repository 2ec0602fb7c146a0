"""Each network is the one of its paper: counted against published numbers and closed forms."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from harden.errors import ConfigError
from harden.models import Activation, Cnn, CnnSmall, Mlp, PreActResNet18, WideResNet
from harden.models.blocks import PreActBlock, initialise
from harden.models.limits import Shape

CIFAR: Shape = (3, 32, 32)
MNIST: Shape = (1, 28, 28)


def count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def outline(choice: Cnn | PreActResNet18 | WideResNet, shape: Shape) -> nn.Module:
    """The network without its numbers: counting needs no memory."""
    with torch.device("meta"):
        return choice.network(shape, 10)


def residual_count(widths: list[int], blocks: int) -> int:
    """Parameters of a pre-activation network for CIFAR-10, summed layer by layer from the papers' tables.

    `widths`: stem and stages. A block has norms of 2 parameters a channel and 3x3 convolutions without bias.
    """
    total = 3 * widths[0] * 9
    for index, (inward, outward) in enumerate(pairwise(widths)):
        total += 2 * inward + inward * outward * 9 + 2 * outward + outward * outward * 9
        total += (blocks - 1) * 2 * (2 * outward + outward * outward * 9)
        total += inward * outward if index > 0 or inward != outward else 0
    return total + 2 * widths[-1] + widths[-1] * 10 + 10


def test_preact_resnet18_has_the_published_size() -> None:
    assert count(outline(PreActResNet18(), CIFAR)) == residual_count([64, 64, 128, 256, 512], 2) == 11_172_170


@pytest.mark.parametrize(("depth", "widen", "millions"), [(16, 8, 11.0), (22, 8, 17.2), (28, 10, 36.5), (40, 4, 8.9)])
def test_wide_resnets_have_the_sizes_of_their_table(depth: int, widen: int, millions: float) -> None:
    """Zagoruyko and Komodakis 2016, table 4, printed to a tenth of a million."""
    found = count(outline(WideResNet(depth=depth, widen=widen), CIFAR))
    assert found == residual_count([16, 16 * widen, 32 * widen, 64 * widen], (depth - 4) // 6)
    assert abs(found / 1e6 - millions) <= 0.06


@pytest.mark.parametrize(("shape", "published"), [(MNIST, 166_406), (CIFAR, 214_918)])
def test_cnn_at_its_papers_widths_has_the_published_size(shape: Shape, published: int) -> None:
    """The "small" networks that Wong and Kolter's line of work counts as 166406 and 214918 parameters."""
    assert count(outline(Cnn(channels=[16, 32], hidden=100), shape)) == published


def test_a_wide_resnet_on_pixels_gives_logits() -> None:
    net = WideResNet(depth=10, widen=1).network((3, 8, 8), 7).eval()
    assert net(torch.rand(2, 3, 8, 8)).shape == (2, 7)


def test_mlp_without_hidden_layers_is_linear() -> None:
    net = Mlp(hidden=[]).network((1, 2, 2), 3)
    x, y = torch.rand(4, 1, 2, 2), torch.rand(4, 1, 2, 2)
    torch.testing.assert_close(net(x) + net(y) - net(torch.zeros_like(x)), net(x + y))


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 7, 5), (2, 9, 16)])
def test_cnn_small_takes_images_of_any_size(shape: Shape) -> None:
    assert CnnSmall().network(shape, 3)(torch.rand(2, *shape)).shape == (2, 3)


def test_a_block_with_silent_convolutions_is_the_identity() -> None:
    block = PreActBlock(4, 4, stride=1, activation=Activation.RELU)
    for conv in (block.conv1, block.conv2):
        nn.init.zeros_(conv.weight)
    x = torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(block(x), x, rtol=0, atol=0)


def test_a_block_that_changes_shape_reads_the_activated_input() -> None:
    block = PreActBlock(1, 1, stride=2, activation=Activation.RELU).eval()
    assert block.shortcut is not None
    nn.init.zeros_(block.conv2.weight)
    nn.init.ones_(block.shortcut.weight)
    x = torch.tensor([-1.0, 0.0, 0.0, 0.0]).view(1, 1, 2, 2)
    torch.testing.assert_close(block(x), torch.zeros(1, 1, 1, 1), rtol=0, atol=0)


def test_convolutions_start_with_variance_two_over_fan_out() -> None:
    torch_state = torch.get_rng_state()
    torch.manual_seed(0)
    conv = nn.Conv2d(16, 128, kernel_size=3)
    initialise(conv)
    torch.set_rng_state(torch_state)
    assert conv.weight.var().item() == pytest.approx(2 / (128 * 9), rel=0.05)


@pytest.mark.parametrize(
    ("activation", "at_one"), [("relu", 1.0), ("silu", 0.731059), ("softplus", 1.0000045), ("gelu", 0.841345)]
)
def test_an_activation_is_its_formula(activation: str, at_one: float) -> None:
    """x, x sigmoid(x), log(1 + exp(10 x)) / 10 and x Phi(x), at 1."""
    layer = Activation(activation).layer()
    torch.testing.assert_close(layer(torch.ones(1)), torch.tensor([at_one]), rtol=0, atol=1e-6)


def test_an_activation_reaches_every_layer() -> None:
    net = outline(PreActResNet18(activation=Activation.SILU), CIFAR)
    kinds = [type(module) for module in net.modules()]
    assert (kinds.count(nn.SiLU), kinds.count(nn.ReLU)) == (17, 0)


@pytest.mark.parametrize("choice", [Mlp, CnnSmall, Cnn, PreActResNet18, WideResNet])
def test_equal_options_make_equal_choices(choice: type) -> None:
    assert choice() == choice()


def test_tuples_become_lists_as_they_are_in_a_card() -> None:
    assert Cnn(channels=(8, 16)).channels == [8, 16]  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [0, -3])
def test_widths_below_one_are_refused(width: int) -> None:
    for make in (
        lambda: Mlp(hidden=[16, width]),
        lambda: CnnSmall(hidden=width),
        lambda: Cnn(channels=[width, 8]),
        lambda: PreActResNet18(width=width),
        lambda: WideResNet(widen=width),
    ):
        with pytest.raises(ConfigError, match=rf"^model\.\w+ must be at least 1, got {width}$"):
            make()


def test_another_number_of_channels_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^model\.channels must be two widths, got \[8\]$"):
        CnnSmall(channels=[8])


@pytest.mark.parametrize("depth", [4, 11, 18, 29])
def test_a_depth_that_makes_no_blocks_is_refused(depth: int) -> None:
    with pytest.raises(ConfigError, match=rf"model\.depth must be 6 n \+ 4 .* got {depth}"):
        WideResNet(depth=depth)


def test_an_unknown_activation_is_refused_with_those_that_exist() -> None:
    with pytest.raises(ConfigError, match=r"\['relu', 'silu', 'softplus', 'gelu'\], got 'tanh'"):
        WideResNet(activation="tanh")  # type: ignore[arg-type]


@pytest.mark.parametrize(("choice", "side", "least"), [(Cnn(), 3, 4), (PreActResNet18(), 7, 8), (WideResNet(), 3, 4)])
def test_images_too_small_are_refused_with_the_smallest_that_fit(
    choice: Cnn | PreActResNet18 | WideResNet, side: int, least: int
) -> None:
    with pytest.raises(ConfigError, match=rf"at least {least}x{least} pixels, got 9x{side}$"):
        choice.network((1, 9, side), 10)
    outline(choice, (1, least, least))
