"""The attempts to remove a mark, by family; parameters are the Watermark-Robustness-Toolbox's where it has them.

`fast` needs no data and takes seconds, `standard` trains too, `full` adds what is known to succeed and forging.
"""

from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from harden.watermarking.edits import tuning
from harden.watermarking.edits.steps import (
    Collude,
    Dummies,
    Flip,
    Fold,
    MixSibling,
    Noise,
    Overwritten,
    Permute,
    Prune,
    Quantise,
    Relabel,
    Rescale,
    Restore,
    Round,
    Shift,
    Step,
    Subtract,
    Tuned,
)
from harden.watermarking.edits.tuning import Optimiser, Tuning


class Suite(Enum):
    """How much is tried; each holds the ones before it."""

    fast = "fast"
    standard = "standard"
    full = "full"


@dataclass(frozen=True)
class Attempt:
    """Steps that are taken one after the other. `expected`: known to remove any mark of this kind, and said so."""

    family: str
    name: str
    steps: tuple[Step, ...]
    expected: bool = False

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of all steps; where several have the same one, under the step's name."""
        out: dict[str, Any] = {}
        for step in self.steps:
            for name, value in step.parameters.items():
                out[name if name not in out else f"{type(step).__name__.lower()}.{name}"] = value
        return out


NSO = (Dummies("zero"), Dummies("clique"), Dummies("split"))

FAST = (
    *(Attempt("formats", dtype, (Round(dtype),)) for dtype in ("fp16", "bf16")),
    *(Attempt("formats", f"int{bits}", (Quantise(bits),)) for bits in (8, 6, 5, 4)),
    Attempt("formats", "folded norms", (Fold(),)),
    Attempt("formats", "renamed and transposed", (Relabel(),)),
    *(Attempt("edits", f"pruning {s:g}", (Prune(s),)) for s in (0.5, 0.65, 0.8, 0.9, 0.95, 0.99)),
    *(
        Attempt("edits", f"pruning by layer {s:g}", (Prune(s, by_layer=True),))
        for s in (0.5, 0.65, 0.8, 0.9, 0.95, 0.99)
    ),
    *(Attempt("edits", f"noise {n:g}", (Noise(n),)) for n in (0.1, 0.3, 1.0)),
    *(Attempt("edits", f"weight shifting {n:g}", (Shift(n),)) for n in (1.5, 2.5)),
    Attempt("free edits", "rescaling", (Rescale(),)),
    Attempt("free edits", "permutation", (Permute(),)),
    Attempt("free edits", "sign flips", (Flip(),)),
    *(Attempt("free edits", f"{step.kind} dummies", (step,)) for step in NSO),
    Attempt("free edits", "all free edits", (*NSO, Fold(), Flip(), Permute(), Rescale())),
    Attempt("others' marks", "10 overwrites", (Overwritten(10),)),
    Attempt("others' marks", "average with a sibling", (MixSibling(),)),
    *(Attempt("others' marks", f"average of {k} copies", (Collude(k),)) for k in (2, 3, 5)),
    Attempt("others' marks", "a shown leaf subtracted", (Subtract(),)),
    Attempt("combined", "noise, pruning, int8", (Noise(0.3), Prune(0.8), Quantise(8))),
    Attempt("combined", "free edits, noise, int4", (*NSO, Noise(0.02), Quantise(4), Permute(), Rescale())),
)

ADAM, SGD = Tuning(20, rate=1e-4), Tuning(20, Optimiser.sgd, rate=0.01)

STANDARD = (
    Attempt("formats", "int4 and an epoch", (Quantise(4), Tuned(Tuning(1, rate=1e-3)), Quantise(4))),
    Attempt("tuning", "FTLL", (Tuned(tuning.FTLL),)),
    Attempt("tuning", "FTAL", (Tuned(tuning.FTAL),)),
    Attempt("tuning", "RTLL", (Tuned(tuning.RTLL),)),
    Attempt("tuning", "RTAL", (Tuned(tuning.RTAL),)),
    *(Attempt("tuning", f"Adam {rate:g}", (Tuned(replace(ADAM, rate=rate)),)) for rate in (1e-4, 1e-3)),
    *(Attempt("tuning", f"SGD {rate:g}", (Tuned(replace(SGD, rate=rate)),)) for rate in (0.01, 0.1)),
    Attempt("tuning", "Adam, decay 0.1", (Tuned(replace(ADAM, rate=1e-3, decay=0.1)),)),
    Attempt("tuning", "Adam, smoothing 0.3", (Tuned(replace(ADAM, rate=1e-3, smoothing=0.3)),)),
    Attempt("hardening", "a tenth of the rate", (Tuned(tuning.ADVERSARIAL),)),
    Attempt("hardening", "full rate", (Tuned(replace(tuning.ADVERSARIAL, rate_share=1.0)),)),
    *(
        Attempt("hardening", f"against eps {eps:g}", (Tuned(Tuning(5, rate=1e-3, eps=eps)),))
        for eps in (0.01, 0.1, 0.25)
    ),
    Attempt("hardening", "fine-pruning 0.96", (Tuned(tuning.FINE_PRUNING),)),
    Attempt("hardening", "weight shifting, 10 epochs", (Shift(1.5), Tuned(Tuning(10, rate=1e-3)))),
    Attempt("combined", "shifting, fine-pruning", (Shift(1.5), Tuned(tuning.FINE_PRUNING))),
    Attempt("combined", "adversarial, RTAL", (Tuned(tuning.ADVERSARIAL), Tuned(tuning.RTAL))),
    Attempt("combined", "free edits, FTAL, int4", (*NSO, Permute(), Tuned(tuning.FTAL), Quantise(4))),
)

FULL = (
    Attempt("honest failures", "distillation", (Tuned(Tuning(20, rate=1e-3, temperature=3.0)),), expected=True),
    Attempt(
        "honest failures",
        "another architecture",
        (Tuned(Tuning(20, rate=1e-3, temperature=3.0, other=True)),),
        expected=True,
    ),
    Attempt(
        "honest failures",
        "SGD 0.1, 200 epochs",
        (Tuned(Tuning(200, Optimiser.sgd, rate=0.1, decay=5e-4)),),
        expected=True,
    ),
    Attempt("honest failures", "a stolen sidecar", (Restore(),), expected=True),
)

SUITES: dict[str, tuple[Attempt, ...]] = {
    Suite.fast.value: FAST,
    Suite.standard.value: FAST + STANDARD,
    Suite.full.value: FAST + STANDARD + FULL,
}
"""The attempts of `attacks=fast|standard|full`."""
