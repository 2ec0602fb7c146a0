"""Alignment to the unmarked sidecar: what was moved comes back, and an innocent network is not made to look marked."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from harden.models import Cnn, CnnSmall, Mlp, PreActResNet18, build
from harden.seeds import seeded, stream
from harden.watermarking.align.align import align
from harden.watermarking.align.merging import Neurons, cleaned
from harden.watermarking.balance import apply, balanced, scales
from harden.watermarking.edits import blunt, dummies, formats, free
from harden.watermarking.layout import Layout, layout_of
from harden.watermarking.wiring import Wiring, wired

RNG = stream(0, "align")
ALPHA = 0.15
State = dict[str, Tensor]


class Case:
    """A network, its layers before a pattern was added to them, and the pattern."""

    def __init__(self, net: nn.Module) -> None:
        self.base: State = {name: tensor.clone() for name, tensor in net.state_dict().items()}
        self.wiring: Wiring = wired(net)
        self.layout: Layout = layout_of(self.base)
        self.sidecar = {layer.name: self.base[layer.name] for layer in self.layout.layers}
        self.chips = {name: self.draw(name, tensor) for name, tensor in self.sidecar.items()}
        self.marked = self.base | {name: self._added(name, tensor) for name, tensor in self.sidecar.items()}

    @staticmethod
    def draw(name: str, like: Tensor, seed: int = 0) -> Tensor:
        """+1 and -1 at random, in the shape of a tensor."""
        rng = RNG.child("chips", name, seed).generator()
        return torch.randint(0, 2, like.shape, generator=rng).float() * 2 - 1

    def _added(self, name: str, tensor: Tensor) -> Tensor:
        by = scales(tensor)
        loud = ALPHA * self.chips[name]
        inverse = type(by)(1 / by.r, 1 / by.c)
        return tensor + apply(loud, inverse)

    def z(self, suspect: State, chips: State | None = None) -> float:
        """The correlation of the suspect's balanced layers with the pattern, in standard deviations."""
        chips = chips or self.chips
        pairs = [(balanced(suspect[name]).clamp(-4, 4), chips[name]) for name in chips if name in suspect]
        total = sum(float((u * s).sum()) for u, s in pairs)
        return total / math.sqrt(sum(float(u.square().sum()) for u, _ in pairs))

    def aligned(self, suspect: State) -> float:
        """`z` after alignment to the layers as they were before."""
        return self.z(align(suspect, self.sidecar, self.layout))


def _case(choice: Cnn | CnnSmall | Mlp | PreActResNet18, side: int = 8) -> Case:
    return Case(build(choice, shape=(1, side, side), classes=10, mean=[0.3], std=[0.5], rng=RNG))


def _tanh() -> Case:
    layers = [nn.Linear(64, 60), nn.Tanh(), nn.Linear(60, 50), nn.Tanh(), nn.Linear(50, 40), nn.Tanh()]
    for number, layer in enumerate(layers):
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.3, generator=RNG.child("tanh", number).generator())
    return Case(nn.Sequential(nn.Flatten(), *layers, nn.Linear(40, 10)))


CASES: dict[str, Callable[[], Case]] = {
    "cnn_small": lambda: _case(CnnSmall()),
    "cnn": lambda: _case(Cnn(channels=[12, 24], hidden=40), side=16),
    "mlp": lambda: _case(Mlp(hidden=[80, 60, 40])),
    "preact": lambda: _case(PreActResNet18(width=6), side=16),
    "tanh": _tanh,
}


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]()


def test_a_network_that_was_not_moved_stays_as_it_is(case: Case) -> None:
    after = align(case.marked, case.sidecar, case.layout)
    assert all(torch.equal(after[name], case.marked[name]) for name in case.sidecar)


@pytest.mark.parametrize(
    "moves",
    [["permuted"], ["permuted", "flipped"], ["permuted", "flipped", "rescaled"]],
    ids="+".join,
)
def test_order_signs_and_scales_cost_no_evidence(case: Case, moves: list[str]) -> None:
    suspect = case.marked
    for name in moves:
        suspect = {"permuted": free.permuted, "flipped": free.flipped, "rescaled": free.rescaled}[name](
            suspect, case.wiring, rng=RNG
        )
    assert abs(case.z(suspect)) < 4.5  # the order hides it
    assert case.aligned(suspect) == pytest.approx(case.z(case.marked), rel=0.02)


@pytest.mark.parametrize(
    "name",
    [
        "cnn_small",
        "cnn",
        pytest.param(
            "mlp",
            marks=pytest.mark.xfail(
                strict=False,
                reason="without kernel positions quantiles are a weak start: narrow MLPs are not always found",
            ),
        ),
    ],
)
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_dummies_under_a_permutation_and_scales_cost_under_two_percent(name: str, noise: float) -> None:
    case = CASES[name]()
    suspect: State = case.marked
    for add in (dummies.zeros, dummies.cliques, dummies.splits):
        suspect = add(suspect, case.wiring, 0.3, rng=RNG)
    suspect = blunt.noisy(suspect, noise, rng=RNG)
    suspect = free.rescaled(free.permuted(suspect, case.wiring, rng=RNG), case.wiring, rng=RNG)
    before = case.z(case.marked)
    assert before > 10
    assert case.aligned(suspect) > (0.98 if noise == 0 else 0.9) * before


def test_dummies_in_a_residual_stream_leave_most_of_the_evidence() -> None:
    case = CASES["preact"]()
    suspect: State = case.marked
    for add in (dummies.zeros, dummies.cliques, dummies.splits):
        suspect = add(suspect, case.wiring, 0.3, rng=RNG)
    suspect = free.rescaled(free.permuted(suspect, case.wiring, rng=RNG), case.wiring, rng=RNG)
    assert case.aligned(suspect) > 0.7 * case.z(case.marked)


@pytest.mark.parametrize("name", ["cnn_small", "cnn"])
def test_a_permutation_under_pruning_noise_and_few_bits_is_undone(name: str) -> None:
    case = CASES[name]()
    suspect = free.permuted(case.marked, case.wiring, rng=RNG)
    worn = formats.quantised(blunt.pruned(blunt.noisy(suspect, 0.3, rng=RNG), 0.8), 4)
    straight = formats.quantised(blunt.pruned(blunt.noisy(case.marked, 0.3, rng=RNG), 0.8), 4)
    assert case.aligned(worn) > 0.8 * case.z(straight)


def test_batch_norms_are_merged_by_what_they_do() -> None:
    """Behind a norm the length of a kernel says nothing about how loud its neuron is."""
    layers = [nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 24, 3), nn.BatchNorm2d(24), nn.ReLU()]
    net = nn.Sequential(*layers, nn.Conv2d(24, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10))
    with seeded(RNG):
        for layer in net:
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.reset_parameters()
    case = Case(net)
    suspect = dummies.splits(dummies.cliques(case.marked, case.wiring, 0.3, rng=RNG), case.wiring, 0.3, rng=RNG)
    suspect = free.rescaled(free.permuted(suspect, case.wiring, rng=RNG), case.wiring, rng=RNG)
    assert case.aligned(suspect) > 0.9 * case.z(case.marked)


def test_alignment_to_the_marked_network_makes_an_innocent_one_look_marked() -> None:
    """The trap: why a sidecar that is not the claim's is refused. Over networks and patterns, in the mean."""
    case = _case(Mlp(hidden=[120, 100, 80]))
    marked = {name: case.marked[name] for name in case.sidecar}
    trapped, fair = [], []
    for seed in range(6):
        choice = Mlp(hidden=[120, 100, 80])
        other = build(choice, shape=(1, 8, 8), classes=10, mean=[0.3], std=[0.5], rng=stream(seed, "other"))
        innocent = other.state_dict()
        trapped.append(case.z(align(innocent, marked, case.layout)))
        fair.append(case.aligned(innocent))
    assert sum(trapped) / 6 > 1
    assert abs(sum(fair) / 6) < 3 / 6**0.5


def test_patterns_never_seen_stay_noise_after_alignment() -> None:
    """A network aligned to the sidecar, against many patterns: a mean of 0 and a deviation of 1."""
    case = CASES["cnn_small"]()
    suspect = align(free.permuted(case.base, case.wiring, rng=RNG), case.sidecar, case.layout)
    found = torch.tensor(
        [
            case.z(suspect, {name: case.draw(name, tensor, seed) for name, tensor in case.sidecar.items()})
            for seed in range(1, 201)
        ]
    )
    assert abs(found.mean().item()) < 4 / 200**0.5
    assert found.std().item() == pytest.approx(1, abs=0.2)


def test_a_missing_and_a_narrower_layer_leave_the_rest() -> None:
    case = CASES["mlp"]()
    names = list(case.sidecar)
    without = {name: tensor for name, tensor in case.marked.items() if name != names[-1]}
    assert list(align(without, case.sidecar, case.layout)) == names[:-1]
    narrow = free_of(case.marked, case, keep=60)
    after = align(narrow, case.sidecar, case.layout)
    assert after[names[0]].shape == case.sidecar[names[0]].shape
    assert int((after[names[0]].abs().sum(dim=0) == 0).sum()) == 20
    assert case.z(after) > 0.7 * case.z(case.marked)


def free_of(weights: State, case: Case, keep: int) -> State:
    """The weights with the first `keep` channels of the first hidden axis alone."""
    out = dict(weights)
    free.reorder(out, case.wiring.hidden[0], torch.arange(keep))
    return out


def test_silent_and_parallel_neurons_go_and_no_others() -> None:
    rng = RNG.generator()
    inward, outward = torch.randn(6, 9, generator=rng), torch.randn(6, 4, generator=rng)
    inward = torch.cat([inward, 2 * inward[1:2], inward[:1], inward[2:3], inward[2:3]])
    outward = torch.cat([outward, outward[1:2], 0 * outward[:1], -outward[2:3], outward[2:3]])
    kept = cleaned(Neurons(inward, {"reader": outward}), wanted=6)
    assert kept.index.tolist() == [0, 1, 2, 3, 4, 5]
    torch.testing.assert_close(kept.outward["reader"][1], 3 * outward[1].double())
    torch.testing.assert_close(kept.outward["reader"][2], outward[2].double())
