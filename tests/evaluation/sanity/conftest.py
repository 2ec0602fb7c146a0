"""A small network trained in seconds in five honest ways, and ten ways to fool whoever measures it."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harden.attacks import Attack, Pgd
from harden.data import DataSet, Digits, load
from harden.evaluation.sanity import Battery, Facts, Row, Subject, battery
from harden.seeds import Stream, seeded, stream
from harden.threat import ThreatModel

THREAT = ThreatModel(eps="0.1")
KNOBS = Battery(images=120, steps=30, strong_steps=30, queries=300)


class Net(nn.Module):
    """Digits' pixels, normalised inside, through one convolution with batch norm and two layers."""

    def __init__(self, activation: Callable[[Tensor], Tensor] = F.relu) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.hidden, self.out = nn.Linear(12 * 16, 48), nn.Linear(48, 10)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        h = self.activation(self.norm(self.conv((x - 0.3) / 0.37)))
        out: Tensor = self.out(self.activation(self.hidden(F.avg_pool2d(h, 2).flatten(1))))
        return out


@pytest.fixture(scope="session")
def digits() -> DataSet:
    return load(Digits())


def perturbed(net: nn.Module, x: Tensor, y: Tensor, rng: Stream, how: str) -> Tensor:
    """What a batch is trained on."""
    if how == "pgd":
        return Pgd(steps=4)(net, x, y, THREAT, rng=rng)
    if how == "n_fgsm":
        noisy = x + rng.uniform(x, -2, 2) * THREAT.radius
        noisy.requires_grad_(True)
        (gradient,) = torch.autograd.grad(F.cross_entropy(net(noisy), y), noisy)
        return (noisy + THREAT.radius * gradient.sign()).detach().clamp(0, 1)
    return x


def trained(net: nn.Module, data: DataSet, how: str = "clean", epochs: int = 8, mode: bool = True) -> nn.Module:
    """`net` after a few epochs of Adam; `mode` false: in eval mode all along."""
    optimiser = torch.optim.Adam(net.parameters(), lr=4e-3)
    averaged = copy.deepcopy(net)
    net.train(mode)
    for epoch in range(epochs):
        order = torch.randperm(len(data.train), generator=stream(0, "order", epoch).generator())
        for number, ids in enumerate(torch.split(order, 64)):
            batch = data.train.batch(ids)
            rng = stream(0, "train", epoch, number).at(ids)
            x = perturbed(net, batch.x, batch.y, rng, how)
            if how == "ibp":
                loss = interval_loss(net, x, batch.y, 0.05 * epoch / epochs)
            elif how == "trades":
                x_adv = perturbed(net, x, batch.y, rng, "pgd")
                clean, other = net(x), net(x_adv)
                loss = F.cross_entropy(clean, batch.y) + 4 * F.kl_div(
                    other.log_softmax(1), clean.softmax(1), reduction="batchmean"
                )
            else:
                loss = F.cross_entropy(net(x), batch.y)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            with torch.no_grad():
                for one, other_one in zip(averaged.parameters(), net.parameters(), strict=True):
                    one.lerp_(other_one, 0.05)
    if how == "trades":
        averaged.load_state_dict({**net.state_dict(), **dict(averaged.named_parameters())})
        net = averaged
    return net.eval()


def interval_loss(net: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """Cross-entropy clean and on the worst logits of interval bounds through an `Mlp`."""
    layers = [one for one in net.modules() if isinstance(one, nn.Linear)]
    low, high = ((x + sign * eps).clamp(0, 1).flatten(1) for sign in (-1, 1))
    for number, layer in enumerate(layers):
        middle, radius = (low + high) / 2, (high - low) / 2
        middle, radius = layer(middle), radius @ layer.weight.abs().T
        low, high = middle - radius, middle + radius
        if number < len(layers) - 1:
            low, high = low.relu(), high.relu()
    worst = torch.where(F.one_hot(y, 10).bool(), low, high)
    return 0.5 * F.cross_entropy(net(x), y) + 0.5 * F.cross_entropy(worst, y)


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def fresh(make: Callable[[], nn.Module]) -> nn.Module:
    with seeded(stream(0, "weights")):
        return make()


HONEST = ("clean", "pgd", "trades", "n_fgsm", "ibp")


@pytest.fixture(scope="session")
def models(digits: DataSet) -> dict[str, nn.Module]:
    """The five honest models; trades with an average of its weights."""
    return {how: trained(fresh(mlp if how == "ibp" else Net), digits, how) for how in HONEST}


class Outside(nn.Module):
    """Something before and after an honest network."""

    def __init__(
        self,
        net: nn.Module,
        before: Callable[[Tensor], Tensor] | None = None,
        after: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.net, self.before, self.after = net, before, after

    def forward(self, x: Tensor) -> Tensor:
        out = self.net(x if self.before is None else self.before(x))
        return out if self.after is None else self.after(out)


class Half(nn.Module):
    """The network in half precision."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = copy.deepcopy(net).half()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x.half())
        return out.float()


class AlwaysTraining(nn.BatchNorm2d):
    """A batch norm that no call of eval() reaches."""

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, True, 0.1, self.eps)


def k_winners(h: Tensor) -> Tensor:
    """Only the largest tenth of the activations is let through (k-WTA, Xiao et al. 2019, arXiv 1905.10510)."""
    flat = h.flatten(1)
    least = flat.topk(max(flat.shape[1] // 10, 1), dim=1).values[:, -1:]
    return torch.where(flat >= least, flat, torch.zeros_like(flat)).view_as(h)


class TooSmall(Attack):
    """PGD within a quarter of the eps that it was given: somebody divided by the standard deviation."""

    factor = "0.025"

    def propose(self, model, x, y, threat, *, rng):  # type: ignore[no-untyped-def]
        return Pgd(steps=10).propose(model, x, y, replace(threat, eps=self.factor), rng=rng)

    @property
    def label(self) -> str:
        return "PGD with another eps"


class TooLarge(TooSmall):
    """PGD with 8 in the place of 8/255."""

    factor = "1"


@pytest.fixture(scope="session")
def subject_of(digits: DataSet) -> Callable[..., Subject]:
    def make(model: nn.Module, **fields: object) -> Subject:
        index = torch.arange(len(digits.test))
        return Subject(model, digits.test, index, THREAT, stream(0, "sanity"), knobs=KNOBS, **fields)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def clean_facts(digits: DataSet, models: dict[str, nn.Module]) -> Facts:
    """What the training record says of the model trained against PGD."""
    batch = digits.test.batch(torch.arange(len(digits.test)))
    share = (models["pgd"](batch.x).argmax(1) == batch.y).double().mean().item()
    return Facts(clean_accuracy=(share, len(digits.test)), selected_on="validation", overlap=0)


FAULTS = {
    "softmax as output": 8,
    "normalised twice": 13,
    "batch norm left in training mode": 10,
    "zero gradients": 6,
    "quantised input": 7,
    "k winners take all": 7,
    "eps too small": 12,
    "eps too large": 12,
    "chosen on test data": 15,
    "half precision": 11,
    "trained in eval mode": 10,
}
"""Each fault, and the row that must fail. The two forms of the bug in eps count as one fault."""


@pytest.fixture(scope="session")
def faulty(
    digits: DataSet, models: dict[str, nn.Module], subject_of: Callable[..., Subject], clean_facts: Facts
) -> Callable[[str], Subject]:
    pgd = models["pgd"]

    def make(fault: str) -> Subject:
        if fault == "softmax as output":
            return subject_of(Outside(pgd, after=lambda z: z.softmax(1)))
        if fault == "normalised twice":
            return subject_of(Outside(pgd, before=lambda x: (x - 0.5) / 0.5), facts=clean_facts)
        if fault == "batch norm left in training mode":
            net = copy.deepcopy(pgd)
            norm = AlwaysTraining(12)
            norm.load_state_dict(net.norm.state_dict())  # type: ignore[union-attr]
            net.norm = norm
            return subject_of(net.eval())
        if fault == "zero gradients":
            return subject_of(Outside(pgd, after=lambda z: z * 1000))
        if fault == "quantised input":
            straight = Outside(pgd, before=lambda x: x + ((x * 4).round() / 4 - x).detach())
            return subject_of(straight.eval())
        if fault == "k winners take all":
            return subject_of(trained(fresh(lambda: Net(k_winners)), digits))
        if fault.startswith("eps too"):
            return subject_of(pgd, attack=TooSmall() if "small" in fault else TooLarge())
        if fault == "chosen on test data":
            return subject_of(pgd, facts=replace(clean_facts, selected_on="test"))
        if fault == "half precision":
            return subject_of(Half(pgd).eval())
        return subject_of(trained(fresh(Net), digits, mode=False))

    return make


@pytest.fixture(scope="session")
def rows_of() -> Callable[[Subject], Iterator[Row]]:
    return battery
