"""Strangers' marks, shown leaves, and how far a forger comes."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from harden.seeds import stream
from harden.watermarking import Profile, verify
from harden.watermarking.edits.forging import aligned_to_marked, keys_searched, payload_searched
from harden.watermarking.edits.mixing import less
from harden.watermarking.edits.strangers import leaf_in, overwriter, stranger
from harden.watermarking.edits.suite import MATCH
from harden.watermarking.embed import embedded, measure

RNG = stream(0, "forging")
Make = Callable[..., Any]


def test_overwriting_adds_the_strangers_mark_and_leaves_the_owners(made: Make) -> None:
    weights, layout, plan, _, mark = made()
    marked, _ = embedded(weights, mark, plan)
    overwrite = overwriter(Profile.standard, rng=RNG)
    after = overwrite(marked, 0)
    theirs = stranger(layout, plan, rng=RNG.child("stranger", 0))
    assert verify(after, theirs).holds
    assert not verify(marked, theirs).holds
    assert verify(after, mark).log10_p < 0.7 * verify(marked, mark).log10_p
    assert all(torch.equal(after[name], overwrite(marked, 0)[name]) for name in after)
    assert not torch.equal(after["c.weight"], overwrite(marked, 1)["c.weight"])


def test_a_shown_leaf_can_be_taken_away_and_the_others_stay(made: Make) -> None:
    weights, _, plan, _, mark = made(leaves=2)
    marked, _ = embedded(weights, mark, plan)
    after = less(marked, leaf_in(marked, mark.only(0)))
    _, slots = measure(after, mark)
    shown = torch.from_numpy(mark.only(0).known)
    assert float(slots.margins[shown].abs().max()) < 0.5
    assert float(slots.margins[~shown].min()) > 0.9 * plan.margin
    assert verify(after, mark.only(1)).holds
    assert not verify(after, mark.only(0)).holds


def test_searching_keys_gains_what_extreme_values_give_and_counting_takes_it_back(made: Make) -> None:
    weights, layout, *_ = made()
    found = keys_searched(weights, layout, 4000, rng=RNG)
    assert found.z == pytest.approx(math.sqrt(2 * math.log(4000)), abs=0.8)
    assert found.log10_corrected > -2
    assert found.log10_p > MATCH


def test_a_chosen_payload_gains_and_counting_takes_it_back(made: Make) -> None:
    weights, layout, plan, *_ = made()
    found = payload_searched(weights, layout, plan, rng=RNG)
    assert found.z == pytest.approx(math.sqrt(2 / math.pi * plan.bits), rel=0.5)  # the mean size of a normal number
    assert found.log10_corrected > -2


def test_alignment_to_the_marked_network_is_told_with_its_z(made: Make) -> None:
    weights, _, plan, _, mark = made()
    marked, _ = embedded(weights, mark, plan)
    innocent, *_ = made(seed=1)
    found = aligned_to_marked(innocent, marked, mark)
    assert abs(found.z) < 8
    assert found.log10_p > MATCH
