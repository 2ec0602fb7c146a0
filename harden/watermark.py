"""Marks in weights: `python -m harden.watermark action=embed weights=F owner=acme.key output=DIR`, then action=verify.

`action=trace` names whose copy leaked, `action=disclose` shows a third party one leaf of the keys. Exit code 0: the
mark is there; 3: it is not; 4: the claim is not to be trusted. A mark does not survive distillation or training anew,
and that it is there is no ownership by itself: whoever has a key can mark a stranger's model.
"""

import sys
from typing import NoReturn

from harden import door
from harden.branding import brand
from harden.inquiry import inquire, pursue, reveal
from harden.marking import DiscloseRequest, EmbedRequest, TraceRequest, VerifyMarkRequest, WatermarkRequest
from harden.sealing.memory import forbid_dumps
from harden.testimony import embedding_sheet, leak_sheet, record_embedding, record_verdict, verdict_sheet
from harden.unlocking import opening_weights
from harden.watermarking.pvalue import COURT, MATCH
from harden.watermarking.size import Level


def main() -> NoReturn:
    """Runs the command line."""
    actions: door.Actions = {
        "embed": (EmbedRequest, embed),
        "verify": (VerifyMarkRequest, verify),
        "trace": (TraceRequest, trace),
        "disclose": (DiscloseRequest, disclose),
    }
    door.run("watermark", WatermarkRequest, nothing, actions)


def nothing(_request: WatermarkRequest, _overrides: list[str]) -> int:
    """Never runs: the request refuses itself."""
    return 2


def embed(request: EmbedRequest, _overrides: list[str]) -> int:
    """Marks weights; 0."""
    forbid_dumps()
    with opening_weights(request):
        made = brand(request)
        recorded = record_embedding(request, made)
    sys.stdout.write(embedding_sheet(made, recorded))
    return 0


def verify(request: VerifyMarkRequest, _overrides: list[str]) -> int:
    """Looks for a mark; 0, or 3 where the evidence does not reach the level."""
    forbid_dumps()
    with opening_weights(request):
        found = inquire(request)
        recorded = record_verdict(request, found)
    sys.stdout.write(verdict_sheet(found, recorded))
    wanted = COURT if request.level is Level.court else MATCH
    return 0 if found.verdict.log10_p <= wanted else 3


def trace(request: TraceRequest, _overrides: list[str]) -> int:
    """Names the recipients whose copies went into a leaked one; 0, or 3 where there is nobody to be named."""
    forbid_dumps()
    with opening_weights(request):
        leak = pursue(request)
    sys.stdout.write(leak_sheet(leak))
    return 0 if leak.named else 3


def disclose(request: DiscloseRequest, _overrides: list[str]) -> int:
    """Shows one leaf; 0."""
    forbid_dumps()
    shown = reveal(request)
    sys.stdout.write(f"leaf      {request.output}: number {shown.number} of {shown.claim.body.leaves}\n")
    sys.stdout.write("note      whoever has it can take this part of the mark away; it is left out from now on\n")
    return 0


if __name__ == "__main__":
    main()
