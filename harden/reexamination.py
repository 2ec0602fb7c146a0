"""The evidence of an evaluation against the weights and the data of today."""

from pathlib import Path
from typing import Any

from harden.errors import Untrusted
from harden.evaluation import evidence, figures
from harden.evaluation.campaign import Findings
from harden.evaluation.inference import at_batch
from harden.evaluation.recheck import attacked_as, rechecks
from harden.evaluation.request import VerifyRequest
from harden.evaluation.sanity import is_reliable
from harden.evaluation.suite import SUITES, label_of, suite_of
from harden.evaluation.verify import Check, compared, nearest_again, rejudged
from harden.loading import opened
from harden.spelling import read, spell
from harden.stages import certified_again
from harden.threat import ThreatModel


def reexamined(request: VerifyRequest) -> tuple[list[Check], dict[str, Any]]:
    """A check for every number of the evaluation, and the evaluation as it was found.

    Raises Untrusted where files are not those that the evaluation speaks of.
    """
    folder = Path(str(request.evidence))
    told, columns, images = evidence.read(folder)
    try:
        return _checks(request, folder, told, columns, images)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise Untrusted(
            f"{folder / evidence.EVALUATION}: does not fit its evidence: {error!r}", "evaluate again"
        ) from error


def _checks(
    request: VerifyRequest, folder: Path, told: dict[str, Any], columns: dict[str, Any], images: dict[str, Any]
) -> tuple[list[Check], dict[str, Any]]:
    weights = Path(request.weights) if request.weights else folder / told["weights"]["file"]
    size = int(told["batch_size"])
    subject = opened(weights, device=request.device, batch_size=size, data=request.data, custom=request.model)
    for name, have, wanted in (
        ("weights", subject.sha256, told["weights"]["sha256"]),
        ("data", subject.data.digest, told["data"]["digest"]),
    ):
        if have != wanted:
            raise Untrusted(
                f"these are not the {name} that were evaluated: their digest is {have}, wanted {wanted}",
                f"name the right {name}: {name}=...",
            )
    threat: ThreatModel = read({"is": "ThreatModel", **told["threat"]}, {"ThreatModel": ThreatModel})
    archived = evidence.findings_of(told, columns, images)
    found = rejudged(subject.model, subject.test, archived, threat, batch_size=size)
    logits = at_batch(subject.model, size)
    columns = columns | {"attacked_as": attacked_as(logits, subject.test, found, size)}
    if "curve" in told:
        columns["curve.distance"] = nearest_again(subject.model, subject.test, columns, images, threat, size)
    if "certified" in told:
        columns["certified"] = certified_again(subject, columns["ids"], told["certified"]["method"], threat)
    again = figures.with_columns(found, columns, told) | _named_again(told, found, threat, len(subject.test))
    again["rechecks"] = [
        {"name": one.name, "accuracy": vars(one.accuracy), "flips": one.flips}
        for one in rechecks(subject.model, subject.test, found, batch_size=size)
    ]
    flags = {name: columns[name].tolist() for name in ("clean", "robust", "y", "predicted")}
    now = {name: getattr(found, name).tolist() for name in flags}
    checks = list(compared(told, again))
    checks += [Check(f"per_sample.{name}", flags[name], now[name]) for name in flags]
    checks.append(Check("x_adv.bound", evidence.bound(told), evidence.bound_in(folder)))
    return checks, told | again


def _named_again(told: dict[str, Any], found: Findings, threat: ThreatModel, whole: int) -> dict[str, Any]:
    """What the numbers may be called: "AA" only if the attacks are those of the standard set."""
    suite, n = told["suite"], len(found.ids)
    name, keys = suite["name"], [one.key for one in found.tried]
    if name in SUITES and suite["knobs"] != spell(dict(suite_of(name, threat.norm).attacks)):
        name = "+".join(keys)
    label = label_of(name, classes=len(told["data"]["classes"]), images=n, whole=whole)
    again: dict[str, Any] = {"suite": {"label": label, "attacks": keys}, "data": {"n": n, "of": whole}}
    if "sanity" in told:
        again["reliable"] = is_reliable(told["sanity"])
    return {key: told[key] | value if isinstance(value, dict) else value for key, value in again.items()}
