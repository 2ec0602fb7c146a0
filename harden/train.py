"""Harden a classifier: `python -m harden.train +attack=pgd`.

Trains an ordinary model and a hardened one, attacks both on the same test images, writes weights, figures and
pictures into a folder, and records the run in MLflow.
"""

import logging
from pathlib import Path
from typing import NoReturn

from harden import door
from harden.console import result_table
from harden.errors import ConfigError
from harden.kernels import preferring
from harden.schema import recalled
from harden.session import Session
from harden.training import TrainRequest
from harden.training import folder as place
from harden.training.team import called, own_device, together
from harden.unlocking import opening_weights


def main() -> NoReturn:
    """Runs the command line."""
    door.run("train", TrainRequest, work)


def work(request: TrainRequest, overrides: list[str]) -> int:
    """One run from request to table; 0. Started by torchrun, one of the processes that share it."""
    folder = None
    if request.resume:
        request, folder = resumed(request.resume, overrides)
    device = own_device(request.compute.where(), called())
    with opening_weights(request), preferring(request.kernels), together(device) as team:
        if not team.leads:
            logging.getLogger().setLevel(logging.WARNING)
        session = Session(request, team)  # all that can be wrong is found before a folder is made
        if team.leads:
            folder = folder or place.fresh(request.name, request.output, overwrite=request.overwrite)
        folder = Path(team.told(folder))
        with door.stoppable() as stop:
            if not team.leads:
                session.follow(folder, stop)
                return 0
            summary, ledger = session.run(folder, stop)
    result_table(summary, folder, ledger)
    return 0


def resumed(resume: str, overrides: list[str]) -> tuple[TrainRequest, Path]:
    """The request that the unfinished run in the folder `resume` was started with, and the folder."""
    others = [one for one in overrides if not one.startswith("resume=")]
    if others:
        raise ConfigError(f"resume takes the run as it was configured, got {', '.join(others)}", "leave that out")
    folder = place.unfinished(resume)
    return recalled(place.read_config(folder), TrainRequest, where=str(folder / place.CONFIG)), folder


if __name__ == "__main__":
    main()
