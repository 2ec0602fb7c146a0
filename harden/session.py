"""A training session, as the door runs it: data, folder, ledger, job, pictures, summary."""

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from harden.console import downloads, watching
from harden.data import DataSet, load
from harden.drawing import draw
from harden.environment import environment
from harden.errors import ConfigError, HardenError, Interrupted
from harden.files import alone
from harden.ledger import Ledger, open_ledger
from harden.recording import Recorder
from harden.spelling import spell
from harden.training import Job, TrainRequest, results
from harden.training import folder as place
from harden.training.team import ALONE, Team

if TYPE_CHECKING:
    from harden.keeping import Keeper

logger = logging.getLogger(__name__)


class Session:
    """A request whose data, device, network and initial weights have been found to fit each other."""

    def __init__(self, request: TrainRequest, team: Team = ALONE) -> None:
        _check_alone(request, team)
        self.team = team
        if not request.objective.hardens:
            logger.info("no attack: this is ordinary training (to harden, add +attack=pgd)")
        if not team.leads:
            team.wait()  # the first process downloads, the others find it done
        with downloads() as progress:
            self.data = load(request.data, progress=progress)
        if team.leads:
            team.wait()
        self.keeper = _keeper(request, self.data)  # before the descriptor of passphrases is forgotten
        self.request = request = request.anchored
        threads = request.compute.threads_for(request.schedule.batch_size * math.prod(self.data.shape))
        if threads:
            torch.set_num_threads(threads)
        self.job = Job(
            request.recipe,
            self.data,
            compute=request.compute,
            baseline=request.baseline,
            every=request.checkpoint_seconds,
            mark=self.keeper,
            team=team,
        )
        if self.job.from_sealed:
            logger.info("init is sealed: no checkpoints, which would hold its weights in the clear; so no resume")

    def run(self, folder: Path, stop: Callable[[], bool]) -> tuple[dict[str, Any], Ledger]:
        """Runs the job in `folder`; the summary and the ledger, closed.

        Raises Interrupted, with the way to go on, when `stop` said so, and TrainingError as `Training` does.
        """
        self.job.stop = stop
        with alone(folder):
            if (folder / place.SUMMARY).exists():  # another process finished it while this one was loading data
                raise HardenError(
                    f"{folder}: the run is finished already", f"its results are in {folder / place.SUMMARY}"
                )
            ledger = self._opened(folder)
            place.write_config(folder, spell(self.request))
            if self.keeper:
                self.keeper.begin(folder)
            try:
                summary = self._work(folder, ledger)
            except (Interrupted, KeyboardInterrupt) as error:
                ledger.close("KILLED")
                raise _stopped(folder) from error
            except BaseException:
                ledger.close("FAILED")
                raise
            ledger.close()
        return summary, ledger

    def follow(self, folder: Path, stop: Callable[[], bool]) -> None:
        """Runs the job beside the first process, which owns `folder`, the record and all that is printed."""
        self.job.stop = stop
        for _ in self.job.run(folder / place.CHECKPOINTS):
            pass

    def _opened(self, folder: Path) -> Ledger:
        """The ledger; where it cannot be opened, a folder that was made for this run goes again."""
        try:
            return self._ledger(folder)
        except HardenError:
            if not any(folder.iterdir()):
                folder.rmdir()
            raise

    def _ledger(self, folder: Path) -> Ledger:
        tracking, home = self.request.tracking, folder.resolve().parent
        ledger = open_ledger(
            uri=tracking.uri,
            folder=home,
            experiment=tracking.experiment or self.data.name,
            name=folder.name,
            run_id=place.read_record(folder),
        )
        place.write_record(folder, ledger.run_id)
        logger.info("recording to %s", ledger.location)
        return ledger

    def _work(self, folder: Path, ledger: Ledger) -> dict[str, Any]:
        recorder, where = Recorder(ledger), environment()  # now: the checkout may change while this runs
        recorder.begin(self.request, self.data, where)
        with watching() as watch:
            for news in self.job.run(folder / place.CHECKPOINTS):
                recorder(news)
                watch(news)
        files = draw(self.job, folder)
        claims = self.keeper.write(folder) if self.keeper else []
        summary = results.write(self.job, folder, run_id=ledger.run_id, commit=where.get("commit"))
        names = (place.WEIGHTS, place.ORDINARY, place.CONFIG, place.SUMMARY)
        kept = [folder / name for name in names if (folder / name).exists()]
        recorder.end(summary, [*kept, *files])
        for path in claims:
            ledger.keep(path, str(path.parent.relative_to(folder)))
        return summary


def _check_alone(request: TrainRequest, team: Team) -> None:
    """Raises ConfigError where several processes are asked to keep a mark: each would make a claim of its own."""
    if request.mark is not None and team.size > 1:
        raise ConfigError(
            f"mark=owner trains in one process, not in {team.size}",
            "train without it, then mark the result: python -m harden.watermark action=embed weights=...",
        )


def _keeper(request: TrainRequest, data: DataSet) -> "Keeper | None":
    """What keeps the mark that the request asks for."""
    if request.mark is None:
        return None
    from harden.keeping import Keeper  # needs cryptography, few runs do

    return Keeper(request.mark, request, data)


def _stopped(folder: Path) -> Interrupted:
    if (folder / place.SUMMARY).exists():
        return Interrupted(f"stopped; the run in {folder} had finished, its record may lack files")
    return Interrupted(f"stopped; the run in {folder} is kept", f"go on with: python -m harden.train resume={folder}")
