"""What a thief does with data: stolen weights trained on, through `harden.training`, by the suite's recipes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harden.attacks import Attack, Pgd
from harden.data import Batch, DataSet, Digits, Split
from harden.errors import TrainingError
from harden.models import CHOICES, Card, Classifier, CnnSmall, Mlp
from harden.seeds import Stream, seeded, stream
from harden.threat import ThreatModel
from harden.training import AdamW, Clean, Judging, Madry, Recipe, Schedule, Sgd, Shape, Training, Watchdog
from harden.training.learner import Learner
from harden.training.objectives import Loss
from harden.watermarking.edits.steps import NotHere
from harden.watermarking.edits.tuning import Head, Layers, Optimiser, Tuning
from harden.watermarking.wiring.widths import dressed

INNER = Pgd(steps=7)
"""The attack that thieves train against."""


@dataclass(frozen=True)
class Distilled(Clean):
    """Cross-entropy with a teacher's softened answers (Hinton et al. 2015, arXiv 1503.02531)."""

    teacher: nn.Module | None = None
    temperature: float = 1.0

    def __call__(
        self, model: nn.Module, batch: Batch, attack: Attack | None, threat: ThreatModel, *, rng: Stream
    ) -> Loss:
        """Times the square of the temperature, so that gradients keep their size."""
        if self.teacher is None:
            raise TypeError("distillation was called without a teacher")
        with torch.no_grad():
            soft = F.softmax(self.teacher(batch.x) / self.temperature, dim=1)
        logits = model(batch.x)
        value = self.temperature**2 * F.cross_entropy(logits / self.temperature, soft)
        return Loss(value, clean=(logits.detach().argmax(dim=1) == batch.y).sum())


class Thief:
    """Trains stolen weights on. `rate`: what the network was trained at; `images`: how many the thief has; 0: all."""

    def __init__(
        self,
        model: Classifier,
        card: Card,
        data: DataSet,
        threat: ThreatModel,
        *,
        rate: float,
        images: int,
        rng: Stream,
    ) -> None:
        self.model, self.card, self.threat, self.rate, self.rng = model, card, threat, rate, rng
        count = min(images or len(data.train), len(data.train))
        order = torch.randperm(len(data.train), generator=rng.child("images").generator())[:count]
        self.data = replace(data, train=Split(data.train.x[order], data.train.y[order]))

    @cached_property
    def stranger(self) -> Classifier:
        """An untrained network of another architecture that fits the same images."""
        other = CnnSmall() if self.card.model == "mlp" else Mlp()
        recipe = Recipe(data=Digits(), model=other, seed=self.rng.key % 2**31)
        return Training(recipe, self.data).learner.model.eval()

    def tuned(self, weights: Mapping[str, Tensor], recipe: Tuning) -> dict[str, Tensor]:
        """The weights after the recipe; raises NotHere where training fails."""
        if self.card.model not in CHOICES or self.card.model == "custom":
            raise NotHere("a network that harden can build")
        stolen = dressed(self.model, weights)
        training = Training(self._recipe(recipe, stolen), self.data)
        training.learner = Learner(self._start(stolen, recipe), training.recipe.optim, training.recipe.schedule)
        training.good = training.learner.capture()
        try:
            for _ in training:
                pass
        except TrainingError as error:
            raise NotHere(f"a rate that trains: {error.message}") from error
        return {name: tensor.detach().clone() for name, tensor in training.learner.model.state_dict().items()}

    def _start(self, stolen: nn.Module, recipe: Tuning) -> Classifier:
        """What the training begins with; frozen layers take no gradient."""
        if recipe.temperature:
            with seeded(self.rng.child("anew")):
                return _redrawn(self.stranger if recipe.other else dressed(self.model, self.model.state_dict()))
        last = _layers(stolen)[-1]
        if recipe.dropped:
            self._drop(stolen, recipe.dropped)
        if recipe.head is Head.fresh:
            with seeded(self.rng.child("head")):
                last.reset_parameters()
        if recipe.layers is Layers.last:
            for parameter in stolen.parameters():
                parameter.requires_grad_(False)
            for parameter in last.parameters():
                parameter.requires_grad_(True)
        return stolen  # type: ignore[return-value]

    def _drop(self, model: nn.Module, share: float) -> None:
        """Cuts off the least active channels of the last convolution (Liu et al. 2018, "Fine-Pruning")."""
        convolutions = [one for one in _layers(model) if isinstance(one, nn.Conv2d)]
        if not convolutions:
            raise NotHere("a network with convolutions")
        seen: list[Tensor] = []
        hook = convolutions[-1].register_forward_hook(lambda _m, _x, y: seen.append(y.relu().mean(dim=(0, 2, 3))))
        with torch.no_grad():
            model.eval()(self.data.train.batch(torch.arange(min(500, len(self.data.train)))).x)
            hook.remove()
            gone = seen[0].argsort()[: round(share * len(seen[0]))]
            convolutions[-1].weight[gone] = 0
            if convolutions[-1].bias is not None:
                convolutions[-1].bias[gone] = 0

    def _recipe(self, recipe: Tuning, stolen: nn.Module) -> Recipe:
        rate = recipe.rate if recipe.rate is not None else self.rate * (recipe.rate_share or 0.0)
        optim = (AdamW if recipe.optimiser is Optimiser.adam else Sgd)(lr=rate, weight_decay=recipe.decay)
        adversarial = recipe.eps is not None or recipe.eps_share > 0
        objective: Clean | Madry = (Madry if adversarial else Clean)(label_smoothing=recipe.smoothing)
        if recipe.temperature:
            objective = Distilled(teacher=stolen.eval(), temperature=recipe.temperature)
        return Recipe(
            data=Digits(),  # says only how images are varied: not at all
            model=CHOICES[self.card.model](**self.card.arguments),
            threat=self._radius(recipe),
            attack=INNER if adversarial else None,
            objective=objective,
            optim=optim,
            schedule=Schedule(
                epochs=recipe.epochs, shape=Shape.constant, ramp=0.0, ema=0.0, validation=1, validate_every=1e6
            ),
            watchdog=Watchdog(every=0.0),
            judge=Judging(validation_steps=1, steps=1, restarts=1, images=1),
            seed=self.rng.key % 2**31,
        )

    def _radius(self, recipe: Tuning) -> ThreatModel:
        if recipe.eps is not None:
            return replace(self.threat, eps=f"{recipe.eps:g}")
        return self.threat.scaled(recipe.eps_share) if 0 < recipe.eps_share < 1 else self.threat


def _layers(model: nn.Module) -> list[nn.Linear | nn.Conv2d]:
    return [one for one in model.modules() if isinstance(one, nn.Linear | nn.Conv2d)]


def _redrawn(model: nn.Module) -> Classifier:
    """The network with first weights drawn anew."""
    for module in model.modules():
        redraw = getattr(module, "reset_parameters", None)
        if callable(redraw):
            redraw()
    return model  # type: ignore[return-value]


def thief_stream() -> Stream:
    """The stream of all that thieves draw."""
    return stream(0, "thief")
