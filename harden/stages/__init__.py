"""What stands beside the attacks of an evaluation: curve, bounds, other draws, other threats, other models, sanity.

Each stage adds columns, a value a sample, and what tells of them; the numbers follow from the columns alone. A
stage is run twice: with a `Desk` when the evaluation is made, and with an `Archive`, which attacks nothing but
judges the archived images, when it is verified.
"""

from collections.abc import Iterator
from typing import Any

from harden.evaluation.request import Certify
from harden.evaluation.sanity import Facts
from harden.stages.again import Archive
from harden.stages.battery import sanity_checks
from harden.stages.bounds import check_certify, lower_bound
from harden.stages.curve import security_curve
from harden.stages.desk import Desk
from harden.stages.draws import other_draws
from harden.stages.others import compared, digest_of, named_models, same_images, short, transferred
from harden.stages.unseen import unseen_threats

__all__ = ["Archive", "Desk", "check_certify", "digest_of", "named_models", "same_images", "short", "stages"]


def stages(desk: Desk, facts: Facts | None) -> Iterator[Iterator[Any]]:
    """The stages that were asked for, one after the other; `facts` None: without the sanity battery."""
    asked = desk.asked
    if asked.curve:
        yield security_curve(desk)
    if asked.certify is not Certify.none:
        yield lower_bound(desk)
    if asked.unseen:
        yield unseen_threats(desk)
    if asked.draws > 1:
        yield other_draws(desk)
    if asked.against:
        yield compared(desk)
    if asked.transfer:
        yield transferred(desk)
    if asked.sanity and facts is not None:
        yield sanity_checks(desk, facts)
