"""Measure a weights file under attack: `python -m harden.evaluate weights=F`.

The file says which network it is, on which data it was trained and against which threat; each can be said anew.
`action=verify evidence=DIR` computes every number of a finished evaluation again from its archived images.
"""

from typing import NoReturn

from harden import door
from harden.errors import HardenError
from harden.evaluation.request import EvaluateRequest, VerifyRequest
from harden.examination import Examination
from harden.reexamination import reexamined
from harden.unlocking import opening_weights
from harden.verdicts import evaluation_table, verification_table


def main() -> NoReturn:
    """Runs the command line."""
    door.run("evaluate", EvaluateRequest, work, {"verify": (VerifyRequest, verify)})


def work(request: EvaluateRequest, _overrides: list[str]) -> int:
    """Loads, attacks, writes the evidence, prints; 0, or 3 where a sanity check failed."""
    with opening_weights(request):
        examination = Examination(request)
        with door.stoppable() as stop:
            told, folder = examination.run(stop)
    evaluation_table(told, folder, examination.recorded)
    if told.get("certified", {}).get("both"):
        raise HardenError(
            f"{told['certified']['both']} samples are certified and yet broken: one of the two is wrong",
            f"a bug of harden's: please report it with the folder {folder}",
        )
    return 0 if told.get("reliable", True) else 3


def verify(request: VerifyRequest, _overrides: list[str]) -> int:
    """Computes all again from the evidence and prints what was found; 4 where a number does not hold."""
    with opening_weights(request):
        found = reexamined(request)
    verification_table(found.checks, found.told, skipped=found.skipped, again=request.sanity)
    return 0 if all(check.holds for check in found.checks) else 4


if __name__ == "__main__":
    main()
