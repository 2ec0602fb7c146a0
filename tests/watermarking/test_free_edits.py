"""Edits that cost nothing: the network computes the same, its tensors do not look the same."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from harden.errors import ConfigError
from harden.models import Cnn, CnnSmall, Mlp, PreActResNet18, WideResNet, build
from harden.seeds import seeded, stream
from harden.watermarking.edits import dummies, formats, free
from harden.watermarking.edits.kernels import kernels_of
from harden.watermarking.wiring import wired
from harden.watermarking.wiring.widths import dressed

RNG = stream(0, "free edits")


def _tanh() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(256, 20), nn.Tanh(), nn.Linear(20, 24), nn.Tanh(), nn.Linear(24, 10))


def _normed() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.Conv2d(8, 12, 3, stride=2), nn.BatchNorm2d(12), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(12 * 36, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 10)),
    )


def _built(choice: Mlp | Cnn | CnnSmall | PreActResNet18 | WideResNet) -> nn.Module:
    return build(choice, shape=(1, 16, 16), classes=10, mean=[0.3], std=[0.5], rng=RNG)


NETS: dict[str, Callable[[], nn.Module]] = {
    "tanh": _tanh,
    "normed": _normed,
    "mlp": lambda: _built(Mlp(hidden=[30, 20])),
    "cnn": lambda: _built(Cnn(channels=[6, 10], hidden=20)),
    "cnn_small": lambda: _built(CnnSmall()),
    "preact": lambda: _built(PreActResNet18(width=6)),
    "wide": lambda: _built(WideResNet(depth=10, widen=1)),
}
EDITS: dict[str, Callable[..., dict[str, Tensor]]] = {
    "rescaled": free.rescaled,
    "flipped": free.flipped,
    "permuted": free.permuted,
    "zeros": lambda w, wiring, *, rng: dummies.zeros(w, wiring, 0.3, rng=rng),
    "cliques": lambda w, wiring, *, rng: dummies.cliques(w, wiring, 0.3, rng=rng),
    "splits": lambda w, wiring, *, rng: dummies.splits(w, wiring, 0.3, rng=rng),
    "folded": lambda w, wiring, *, rng: formats.folded(w, wiring),  # noqa: ARG005
}


@pytest.fixture(params=NETS)
def net(request: pytest.FixtureRequest) -> nn.Module:
    """A network in float64 whose norms have seen something."""
    with seeded(RNG.child(request.param)):
        model = NETS[request.param]().double()
        for name, tensor in model.state_dict().items():
            if name.endswith("running_mean"):
                tensor.normal_(std=0.3)
            elif name.endswith("running_var"):
                tensor.uniform_(0.3, 2.0)
            elif tensor.dim() == 1 and tensor.is_floating_point():
                tensor.add_(torch.randn_like(tensor) * 0.3)
    return model.eval()


def _logits(model: nn.Module) -> Tensor:
    x = torch.rand(5, 1, 16, 16, generator=RNG.generator(), dtype=torch.float64)
    with torch.no_grad():
        out: Tensor = model(x)
    return out


@pytest.mark.parametrize("edit", EDITS)
def test_a_free_edit_leaves_every_logit_as_it_was(net: nn.Module, edit: str) -> None:
    after = EDITS[edit](net.state_dict(), wired(net), rng=RNG)
    torch.testing.assert_close(_logits(dressed(net, after)), _logits(net), rtol=1e-6, atol=1e-9)


def test_all_free_edits_together_leave_every_logit_as_it_was(net: nn.Module) -> None:
    weights, wiring = dict(net.state_dict()), wired(net)
    for name in ("zeros", "cliques", "splits", "folded", "flipped", "permuted", "rescaled"):
        weights = EDITS[name](weights, wiring, rng=RNG)
    torch.testing.assert_close(_logits(dressed(net, weights)), _logits(net), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("net", sorted(NETS.keys() - {"tanh", "normed"}), indirect=True)  # tanh takes no scale
@pytest.mark.parametrize("edit", ["rescaled", "permuted", "zeros", "cliques", "splits"])
def test_no_hidden_kernel_is_left_as_it_was(net: nn.Module, edit: str) -> None:
    before = net.state_dict()
    after = EDITS[edit](before, wired(net), rng=RNG)
    same = [n for n in kernels_of(before) if n in after and before[n].shape == after[n].shape]
    assert not [n for n in same if torch.equal(before[n], after[n])]


@pytest.mark.parametrize("edit", [name for name in EDITS if name != "folded"])
def test_the_same_stream_gives_the_same_edit_and_another_one_another(edit: str) -> None:
    model = _built(CnnSmall()) if edit != "flipped" else _tanh()
    weights, wiring = model.state_dict(), wired(model)
    one, again, other = (EDITS[edit](weights, wiring, rng=rng) for rng in (RNG, RNG, stream(1)))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_an_edit_does_not_touch_what_it_was_given(net: nn.Module) -> None:
    given = net.state_dict()
    before = {name: tensor.clone() for name, tensor in given.items()}
    for edit in EDITS.values():
        edit(given, wired(net), rng=RNG)
    assert all(torch.equal(given[name], before[name]) for name in before)


def test_dummies_widen_every_hidden_axis_by_their_share() -> None:
    model = _built(Cnn(channels=[10, 20], hidden=30))
    after = dummies.splits(model.state_dict(), wired(model), 0.3, rng=RNG)
    assert [len(after[f"net.{n}.weight"]) for n in (0, 2, 5, 7)] == [13, 26, 39, 10]
    assert after["net.5.weight"].shape[1] == 26 * 16


def test_a_relu_gets_no_negative_sign() -> None:
    model = _built(CnnSmall())
    after = free.flipped(model.state_dict(), wired(model), rng=RNG)
    assert all(torch.equal(after[name], tensor) for name, tensor in model.state_dict().items())


def test_residual_streams_are_one_axis() -> None:
    model = _built(PreActResNet18(width=6))
    stream_axis = next(axis for axis in wired(model).hidden if axis.writers[0].name == "net.0.weight")
    assert [port.name for port in stream_axis.writers] == [
        "net.0.weight",
        "net.1.0.conv2.weight",
        "net.1.1.conv2.weight",
    ]


class _Doubled(nn.Module):
    """Joins channels, which nothing here can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Twice the same side by side."""
        y = self.layer(x)
        return torch.cat([y, y], dim=1)


class _Branching(nn.Module):
    """Decides by the data."""

    def forward(self, x: Tensor) -> Tensor:
        """Whichever."""
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (_Doubled(), "cat"),
        (_Branching(), "cannot be followed"),
        (nn.Sequential(nn.Conv2d(4, 4, 3, groups=2)), "groups"),
        (nn.Sequential(nn.Linear(4, 4), nn.Softmax(dim=1), nn.Linear(4, 4)), "layer 1"),
    ],
)
def test_a_network_that_cannot_be_followed_is_refused_by_name(model: nn.Module, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        wired(model)
