"""Any evasion attack of the Adversarial Robustness Toolbox, by name: real calls into the installed package.

The import takes seconds and happens when the attack is run. ART draws from NumPy's global generator, which is
seeded here and put back.
"""

import difflib
import inspect
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from harden.attacks.base import Attack, Model
from harden.errors import ConfigError, HardenError, MissingExtra
from harden.seeds import Stream, seeded, seeded_numpy
from harden.threat import Norm, ThreatModel

NORMS = {Norm.linf: float("inf"), Norm.l2: 2, Norm.l1: 1}

OURS = ("batch_size", "clip_values", "eps", "estimator", "classifier", "norm", "targeted", "verbose")
"""What the threat model and the call decide, hence no argument of the attack's. A targeted attack would aim at the
label it is given, which is the true one, and break nothing; for some of ART's that is the default."""

AIMED = ("SaliencyMapMethod", "TargetedUniversalPerturbation")
"""Attacks that always take the labels given for targets: these are given the likeliest wrong class."""

SINGLE = {"ShadowAttack": 400, "SimBA": 1}
"""Attacks that take one image at a time, and the batch size that each must have."""

PROBABLE = ("NewtonFool", "SimBA", "VirtualAdversarialMethod")
"""Attacks that want probabilities where all others want logits."""

FAILURES = (ArithmeticError, AssertionError, AttributeError, LookupError, NotImplementedError, StopIteration)
"""What ART's attacks raise, beside ValueError and TypeError, on a model or a NumPy they do not fit."""


@dataclass(frozen=True)
class Art(Attack):
    """ART's attack `name`, made with `args`; norm and eps are the threat model's."""

    alone: ClassVar[bool] = True
    name: str = "HopSkipJump"
    args: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "args", dict(self.args or {}))
        if clash := sorted(set(self.args) & set(OURS)):
            raise ConfigError(f"attack.args cannot hold {', '.join(clash)}", "norm, eps and box are the threat model's")

    @property
    def label(self) -> str:
        """ART and the attack's name, with the arguments given. ART's AutoAttack is not AutoAttack's standard set."""
        if not self.args:
            return f"ART-{self.name}"
        return f"ART-{self.name} ({', '.join(f'{key} {value}' for key, value in sorted(self.args.items()))})"

    def check(self, threat: ThreatModel) -> None:
        """Raises ConfigError for a name or an argument that ART does not have, MissingExtra where there is no ART."""
        _checked(self.name, self.args)

    def propose(self, model: Model, x: Tensor, y: Tensor, threat: ThreatModel, *, rng: Stream) -> Tensor:
        """What ART generates, projected, for a nearest point may lie beyond the ball.

        Alike for the same images in the same batch: ART draws for a batch, not for a sample. Raises ConfigError for
        a name or an argument that ART does not have, HardenError where the attack does not fit the model.
        """
        size = 1 if self.name in SINGLE else max(len(x), 1)
        parts = torch.split(torch.arange(len(x), device=x.device), size)
        out = [self._generated(model, x[few], y[few], threat, rng.take(few)) for few in parts]
        return threat.project(torch.cat(out), x) if out else x

    def _generated(self, model: Model, x: Tensor, y: Tensor, threat: ThreatModel, rng: Stream) -> Tensor:
        assert rng.rows is not None
        stream = rng.child("art", int(rng.rows[0]))
        with _quiet(), seeded_numpy(stream), seeded(stream, x.device), torch.enable_grad():
            attack = self._made(model, x, threat)
            wanted = _runner_up(model, x, y) if self.name in AIMED else y
            labels = nn.functional.one_hot(wanted, attack.estimator.nb_classes)  # the one form that all of them take
            try:
                x_adv = attack.generate(x=x.cpu().numpy(), y=labels.cpu().numpy())
            except ImportError as error:
                raise MissingExtra(f"ART's {self.name} needs more: {error}", "install the package it names") from error
            except (*FAILURES, ValueError, TypeError) as error:
                reason = " ".join(str(error).split()) or type(error).__name__
                raise HardenError(f"ART's {self.name} failed: {reason}", "see its arguments: attack.args") from error
        return torch.from_numpy(x_adv).to(x)

    def _made(self, model: Model, x: Tensor, threat: ThreatModel) -> Any:
        kind, knobs = _checked(self.name, self.args)
        given = {"norm": NORMS[threat.norm], "eps": threat.radius, "targeted": False, "verbose": False}
        given |= {"batch_size": SINGLE.get(self.name, len(x))}
        given |= {"eps_step": threat.radius / 4}  # ART's own default may exceed eps, which it then refuses
        wanted = {name: value for name, value in given.items() if name in knobs} | self.args
        try:
            return kind(_classifier(model, x, threat, probable=self.name in PROBABLE), **wanted)
        except ImportError as error:
            raise MissingExtra(f"ART's {self.name} needs more: {error}", "install the package it names") from error
        except (*FAILURES, ValueError, TypeError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ConfigError(f"ART's {self.name} refuses its arguments: {reason}") from error


def names() -> list[str]:
    """The evasion attacks of the installed ART. Raises MissingExtra where there is none."""
    return sorted(name for name, kind in vars(_evasion()).items() if _is_attack(kind))


def _checked(name: str, args: dict[str, Any]) -> tuple[Callable[..., Any], list[str]]:
    kind = _named(name)
    knobs = _knobs(kind)
    if unknown := sorted(set(args) - set(knobs)):
        have = ", ".join(one for one in knobs if one not in OURS)
        raise ConfigError(f"ART's {name} has no argument {', '.join(unknown)}; there are: {have}")
    return kind, knobs


def _named(name: str) -> Callable[..., Any]:
    there = names()
    if name not in there:
        lower = {one.lower(): one for one in there}
        near = [lower[one] for one in difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.0)]
        raise ConfigError(
            f"ART has no attack '{name}'; the nearest are: {', '.join(near)}",
            f"ART {_version()} has {len(there)}; harden.attacks.art.names() lists them",
        )
    kind: Callable[..., Any] = getattr(_evasion(), name)
    return kind


def _version() -> str:
    return metadata.version("adversarial-robustness-toolbox")


def _knobs(kind: Callable[..., Any]) -> list[str]:
    return [name for name in inspect.signature(kind).parameters if name not in ("self", "estimator", "classifier")]


def _is_attack(kind: Any) -> bool:
    from art.attacks.attack import EvasionAttack

    return inspect.isclass(kind) and issubclass(kind, EvasionAttack) and not inspect.isabstract(kind)


def _evasion() -> Any:
    try:
        with _quiet():
            import art.attacks.evasion
    except ImportError as error:
        raise MissingExtra(
            f"attack=art needs the Adversarial Robustness Toolbox: {error}",
            "pip install adversarial-robustness-toolbox",
        ) from error
    return art.attacks.evasion


def _classifier(model: Model, x: Tensor, threat: ThreatModel, *, probable: bool) -> Any:
    from art.estimators.classification import PyTorchClassifier

    with torch.no_grad():
        classes = model(x[:1]).shape[1]
    return PyTorchClassifier(
        model=_Module(model, probable),
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(x.shape[1:]),
        nb_classes=classes,
        clip_values=(threat.low, threat.high),
        device_type="gpu" if x.is_cuda else "cpu",
    )


def _runner_up(model: Model, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return model(x).scatter(1, y[:, None], -torch.inf).argmax(dim=1)


class _Module(nn.Module):
    """ART wants a module; its own parameters would be moved and switched to training, so they are kept out."""

    def __init__(self, model: Model, probable: bool) -> None:
        super().__init__()
        self.call, self.probable = [model], probable

    def forward(self, x: Tensor) -> Tensor:
        logits = self.call[0](x.float())  # some attacks of ART compute in float64
        return logits.softmax(dim=1) if self.probable else logits


@contextmanager
def _quiet() -> Iterator[None]:
    """Inside, ART neither warns, nor logs below errors, nor draws the progress bars that no argument turns off."""
    logger = logging.getLogger("art")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
