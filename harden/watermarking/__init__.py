"""Marks in weights: a keyed pattern that says whose they are, and how likely chance is. Format: docs/watermark.md.

    layout, balance           which weights carry a mark; the form of a layer that does not see how neurons are scaled
    key, merkle, claim        what is secret, what can be shown apart, what is signed
    mark, size                which bit and which sign each weight gets; how many bits, how loud
    embed                     the smallest change that gives every bit its margin
    pvalue, verify            the bound, and what is found by it
    sidecar, receipt, digest  what lies beside the marked weights
    disclosure, trace         one leaf for a judge; whose copy leaked

Signing, files and the command line are the doors' business: this room gets `sign` and `check` as functions.
"""

from harden.watermarking.claim import Body, Claim, claim_of, draw
from harden.watermarking.embed import Embedded, embedded, imprint, project
from harden.watermarking.key import WatermarkKey
from harden.watermarking.layout import Layer, Layout, Weights, layout_of
from harden.watermarking.mark import Mark
from harden.watermarking.pvalue import Tries
from harden.watermarking.size import Level, Plan, Profile, plan
from harden.watermarking.trace import Suspicion, trace
from harden.watermarking.verify import Reading, Verdict, verify

__all__ = [
    "Body",
    "Claim",
    "Embedded",
    "Layer",
    "Layout",
    "Level",
    "Mark",
    "Plan",
    "Profile",
    "Reading",
    "Suspicion",
    "Tries",
    "Verdict",
    "WatermarkKey",
    "Weights",
    "claim_of",
    "draw",
    "embedded",
    "imprint",
    "layout_of",
    "plan",
    "project",
    "trace",
    "verify",
]
