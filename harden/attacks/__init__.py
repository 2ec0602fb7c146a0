"""Ways to look for adversarial examples: a value that is called with a model, images, labels and a threat.

An attack proposes; whether it succeeded is decided by `harden.evaluation`.
"""

from harden.attacks.base import Attack, Model, frozen, input_gradient
from harden.attacks.fgsm import Fgsm
from harden.attacks.losses import Loss
from harden.attacks.pgd import Keep, Pgd, Target

__all__ = ["Attack", "Fgsm", "Keep", "Loss", "Model", "Pgd", "Target", "frozen", "input_gradient"]
