"""What was embedded or found, as lines for people, as JSON, as a picture, and in the ledger."""

import tempfile
import time
from pathlib import Path
from typing import Any

from harden.branding import Branded
from harden.environment import environment
from harden.files import write_json
from harden.inquiry import Found, Leak
from harden.ledger import open_ledger
from harden.marking import EmbedRequest, VerifyMarkRequest
from harden.owners import CLAIM, RECEIPT
from harden.pictures import correlation
from harden.spelling import spell
from harden.watermarking import Verdict
from harden.watermarking.null import null_z
from harden.watermarking.pvalue import MATCH, z_at
from harden.watermarking.size import Level

VERIFICATION, PICTURE = "verification.json", "evidence.svg"
EXPERIMENT = "watermark"
NULL_WORK, MOST_KEYS = 40_000_000, 200
"""Weights times keys that a picture may cost, and keys that it shows at most."""


def embedding_sheet(made: Branded, recorded: str) -> str:
    """What was embedded, how loud, and how well it can be found."""
    plan, receipt = made.plan, made.receipt
    rows = [
        ("claim", f"{made.claim.id}"),
        (
            "mark",
            f"{plan.bits} bits in {plan.weights} weights of {len(made.layout.layers)} layers, {plan.leaves} leaves",
        ),
        ("loudness", f"alpha {receipt.alpha}, smallest margin {receipt.margin}, profile {plan.profile.value}"),
        ("evidence", ", ".join(f"{name} log10 p {value}" for name, value in receipt.log10_p.items())),
        ("level", f"{made.verdict.level}, planned for {plan.level.value}" + _aloud(made)),
        ("visible", f"a detector of the variance has an area under its curve of {receipt.detectable} at most"),
    ]
    for name, one in (made.change or {}).items():
        rows.append((name, f"{-100 * one.difference:+.1f} points on {one.n} images, McNemar p {one.p:.2g}"))
    rows += [
        ("files", f"{made.folder}: weights, claim and receipt; weights.sidecar and book.json are the owner's alone"),
        ("note", "no independent time: priority is not shown"),
        ("run", recorded),
        ("next", f"python -m harden.watermark action=verify weights=F claim={made.folder / CLAIM} owner=..."),
    ]
    return lines(*rows)


def verdict_sheet(found: Found, recorded: str) -> str:
    """The verdict with each reading, what was tried, and what it does not say."""
    verdict, body = found.verdict, found.claim.body
    created = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(body.created))
    rows = [
        ("verdict", f"{_word(verdict)}: {chance(verdict.log10_p)}"),
        ("claim", f"{found.claim.id}, round {body.round or 'none'}, {created} by its maker's clock"),
        ("owner", body.owner),
    ]
    for one in verdict.readings:
        rows.append((one.mode.split()[0], f"{one.mode}: Z {one.z:.2f}, {one.errors} of {one.bits} bits wrong"))
        rows += [("", f"{part.name}: Z {part.z:.2f} over {part.weights} weights") for part in one.parts]
    rows.append(("tries", f"{verdict.tries}, all counted in the chance above"))
    if verdict.missing:
        rows.append(
            ("missing", f"{', '.join(verdict.missing)}: {verdict.weights} of {verdict.of_weights} weights looked at")
        )
    if found.shown:
        rows.append(("shown", f"leaves {', '.join(map(str, found.shown))} were shown and left out"))
    if verdict.holds and verdict.log10_p > 1.2 * MATCH:
        rows.append(("warning", "the mark nears its level: embed another one in the next round"))
    if found.claim.timestamp == "none":
        rows.append(("note", "no independent time: priority is not shown"))
    rows += [
        ("note", "that a mark is there is no ownership by itself: whoever has a key can mark a model"),
        ("run", recorded),
    ]
    return lines(*rows)


def leak_sheet(leak: Leak) -> str:
    """Who is named, and how far the others are from it."""
    rows = []
    for name, one in leak.suspicions[:20]:
        how = "taken away from another copy, " if one.subtracted else ""
        told = f"{how}Z blind {one.blind.z:.1f}, residual {one.residual.z:.1f}, {chance(one.log10_p)}"
        rows.append(("named" if one.named else "not named", f"{name}: {told}"))
    rows.append(("tries", f"{len(leak.suspicions)} recipients, two readings, two sides, all counted"))
    return lines(*rows)


def chance(log10_p: float) -> str:
    """A chance in words, never as a share of certainty."""
    if log10_p > -1:
        return "what chance alone would show"
    return f"by chance at most 1 in 10^{-log10_p:.1f}"


def told(found: Found) -> dict[str, Any]:
    """The verdict as JSON values."""
    verdict = found.verdict
    return {
        "format": 1,
        "suspect": found.path.name,
        "claim_id": found.claim.id,
        "owner": found.claim.body.owner,
        "log10_p": verdict.log10_p,
        "level": verdict.level,
        "tries": verdict.tries.count,
        "timestamp": found.claim.timestamp,
        "missing": list(verdict.missing),
        "weights": [verdict.weights, verdict.of_weights],
        "shown": list(found.shown),
        "readings": [
            {
                "mode": one.mode,
                "z": one.z,
                "log10_p": one.log10_p,
                "bits": one.bits,
                "errors": one.errors,
                "tensors": [{"name": part.name, "weights": part.weights, "z": part.z} for part in one.parts],
            }
            for one in verdict.readings
        ],
    }


def record_embedding(request: EmbedRequest, made: Branded) -> str:
    """Puts claim and receipt into the ledger; where it was recorded."""
    home = made.folder.resolve().parent
    with open_ledger(
        uri=request.tracking.uri,
        folder=home,
        experiment=request.tracking.experiment or EXPERIMENT,
        name=f"embed-{made.folder.name}",
    ) as ledger:
        ledger.note(spell(request))
        ledger.tag(environment() | {"harden.kind": "watermark.embed", "harden.claim": made.claim.id})
        ledger.tag({"harden.weights.sha256": made.receipt.weights_sha256, "harden.level": made.verdict.level})
        figures = {"alpha": made.done.alpha, "margin": made.done.margin, "z": made.verdict.blind.z}
        figures |= {"log10_p": made.verdict.log10_p, "bits": made.plan.bits, "weights": made.layout.count}
        for name, one in (made.change or {}).items():
            figures |= {f"{name}_change": -one.difference, f"{name}_p": one.p}
        ledger.log(figures, 0)
        for name in (CLAIM, RECEIPT):
            ledger.keep(made.folder / name)
        return _where(ledger.run_id, ledger.location)


def record_verdict(request: VerifyMarkRequest, found: Found) -> str:
    """Writes the evidence where it was asked for, and puts it into the ledger; where it was recorded."""
    ledger = open_ledger(
        uri=request.tracking.uri,
        folder=_home(found.path),
        experiment=request.tracking.experiment or EXPERIMENT,
        name=f"verify-{found.path.stem}",
    )
    with ledger, tempfile.TemporaryDirectory() as spare:
        folder = Path(request.output or spare)
        if request.output or ledger.run_id != "memory":  # the picture looks with many keys
            write_evidence(found, folder)
        ledger.note(spell(request))
        ledger.tag(environment() | {"harden.kind": "watermark.verify", "harden.claim": found.claim.id})
        ledger.tag({"harden.level": found.verdict.level})
        ledger.log({"log10_p": found.verdict.log10_p, "tries": found.verdict.tries.count}, 0)
        for one in found.verdict.readings:
            name = one.mode.replace(" ", "_")
            ledger.log({f"{name}.z": one.z, f"{name}.errors": one.errors}, 0)
        if ledger.run_id != "memory":
            for file in (VERIFICATION, PICTURE, CLAIM):
                ledger.keep(folder / file)
        return _where(ledger.run_id, ledger.location)


def write_evidence(found: Found, folder: Path) -> None:
    """The claim, the verdict and its picture, in `folder`."""
    write_json(folder / VERIFICATION, told(found))
    (folder / CLAIM).write_bytes(found.claim.encode())
    keys = max(10, min(MOST_KEYS, NULL_WORK // found.mark.layout.count))
    correlation(
        null_z(found.weights, found.mark, keys),
        {one.mode: one.z for one in found.verdict.readings},
        folder / PICTURE,
        title=f"{found.path.name} and claim {found.claim.id[:16]}: {_word(found.verdict)}",
        threshold=z_at(MATCH),
    )


def _home(weights: Path) -> Path:
    """Where a local store lies: beside the weights, or beside the folder of a run or of marked weights."""
    folder = weights.resolve().parent
    return folder.parent if any((folder / name).is_file() for name in (CLAIM, "record.json")) else folder


def lines(*rows: tuple[str, str]) -> str:
    """Rows of a name and a text."""
    return "".join(f"{name:<9} {text}\n" for name, text in rows)


def _word(verdict: Verdict) -> str:
    return f"the mark is there (level {verdict.level})" if verdict.holds else "the mark was not found"


def _aloud(made: Branded) -> str:
    return "" if made.plan.level is Level.court else ": too few weights for court level within the profile"


def _where(run_id: str, location: str) -> str:
    return "not recorded: tracking is off" if run_id == "memory" else f"{run_id} in {location}"
