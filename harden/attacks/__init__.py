"""Ways to look for adversarial examples: a value that is called with a model, images, labels and a threat.

An attack proposes; whether it succeeded is decided by `harden.evaluation`.
"""

from harden.attacks.adaptive import Adaptive, bpda, expectation
from harden.attacks.apgd import Apgd, ApgdCe, ApgdDlr, ApgdT
from harden.attacks.art import Art
from harden.attacks.base import Attack, MinimumNorm, Model, fooled, frozen, input_gradient
from harden.attacks.borrowed import Borrowed
from harden.attacks.counting import Counted
from harden.attacks.cw import Cw
from harden.attacks.ddn import Ddn
from harden.attacks.fab import FabT
from harden.attacks.fgsm import Fgsm
from harden.attacks.fmn import Fmn
from harden.attacks.losses import Loss
from harden.attacks.mixed import Mixed
from harden.attacks.momentum import DiFgsm, MiFgsm, TiFgsm
from harden.attacks.n_fgsm import NFgsm
from harden.attacks.pgd import Keep, Pgd, Target
from harden.attacks.pointwise import Pointwise
from harden.attacks.shares import shared, shares_for
from harden.attacks.square import Square
from harden.attacks.swift import swift

__all__ = [
    "Adaptive",
    "Apgd",
    "ApgdCe",
    "ApgdDlr",
    "ApgdT",
    "Art",
    "Attack",
    "Borrowed",
    "Counted",
    "Cw",
    "Ddn",
    "DiFgsm",
    "FabT",
    "Fgsm",
    "Fmn",
    "Keep",
    "Loss",
    "MiFgsm",
    "MinimumNorm",
    "Mixed",
    "Model",
    "NFgsm",
    "Pgd",
    "Pointwise",
    "Square",
    "Target",
    "TiFgsm",
    "bpda",
    "expectation",
    "fooled",
    "frozen",
    "input_gradient",
    "shared",
    "shares_for",
    "swift",
]
