"""Marks in weights: what embedding guarantees, what verification may say, and where each of them refuses."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import kstest, norm
from torch import Tensor

from harden.errors import ConfigError, WatermarkError
from harden.models.container import decode, encode
from harden.watermarking import (
    Layout,
    Level,
    Mark,
    Profile,
    WatermarkKey,
    embedded,
    layout_of,
    plan,
    project,
    trace,
    verify,
)
from harden.watermarking import mark as marking
from harden.watermarking.embed import measure
from harden.watermarking.key import Keystream
from harden.watermarking.mark import pieces
from harden.watermarking.pvalue import log10_tail
from harden.watermarking.sidecar import sidecar_of
from harden.watermarking.verify import blind, residual
from tests.watermarking.conftest import gaussian, mark_of

Make = Callable[..., Any]
Strangers = Callable[[Layout, int], list[Mark]]


def rebuilt(mark: Mark, index: int) -> tuple[Tensor, Tensor]:
    """Slots and pushes of a layer weight by weight, from the words of the format page, slowly."""
    layer = mark.layout.layers[index]
    words = Keystream(mark.slots, layer.name).read(4 * layer.count + 4).view("<u4")
    order = sorted(range(layer.count), key=lambda at: (words[1 + at], at))
    slots = [0] * layer.count
    for rank, at in enumerate(order):
        slots[at] = (rank + int(words[0])) % mark.bits
    streams = {leaf: Keystream(key, layer.name).read(-(-layer.count // 8)) for leaf, key in mark.leaf.items()}
    push = []
    for at, slot in enumerate(slots):
        bit = streams[slot % mark.leaves][at // 8] >> (at % 8) & 1
        push.append((1 - 2 * int(bit)) * (1 - 2 * int(mark.payload[slot])))
    return torch.tensor(slots), torch.tensor(push, dtype=torch.float32)


def test_slots_and_signs_are_those_of_the_format(made: Make) -> None:
    *_, mark = made(leaves=4)
    for index, layer in enumerate(mark.layout.layers):
        found = list(pieces(mark, layer))
        slots, push = rebuilt(mark, index)
        assert torch.equal(torch.cat([one.slots for one in found]), slots)
        assert torch.equal(torch.cat([one.push for one in found]), push)


def test_slots_and_signs_of_large_layouts_are_those_of_the_format(made: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    *_, mark = made(leaves=4)
    monkeypatch.setattr(marking, "RANKED", 0)
    for layer in mark.layout.layers:
        dealt = Keystream(mark.slots, layer.name).read(-(-layer.count // 16)).astype(np.int64) % mark.bits
        found = list(pieces(mark, layer))
        assert torch.cat([one.slots for one in found]).tolist() == dealt.tolist()
        chips = {
            leaf: np.unpackbits(Keystream(key, layer.name).read(-(-layer.count // 8)), bitorder="little")
            for leaf, key in mark.leaf.items()
        }
        wanted = [
            (1 - 2 * int(chips[dealt[at // 16] % 4][at])) * (1 - 2 * int(mark.payload[dealt[at // 16]]))
            for at in range(layer.count)
        ]
        assert torch.cat([one.push for one in found]).tolist() == wanted


def test_no_bit_goes_short(made: Make) -> None:
    weights, layout, _, _, mark = made()
    _, slots = measure(weights, mark)
    assert int(slots.n.max() - slots.n.min()) <= len(layout.layers)
    assert int(slots.n.sum()) == layout.count


@pytest.mark.parametrize("profile", [Profile.standard, Profile.fortress])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_every_margin_holds_in_the_file_read_back(made: Make, tmp_path: Any, profile: Profile, dtype: Any) -> None:
    weights, _, found, _, mark = made(profile=profile)
    marked, done = embedded({name: value.to(dtype) for name, value in weights.items()}, mark, found)
    (tmp_path / "w.safetensors").write_bytes(encode(marked, {}))
    stored, _ = decode(tmp_path / "w.safetensors")
    _, slots = measure(stored, mark)
    assert float(slots.margins.min()) >= found.margin
    verdict = verify(stored, mark)
    assert (verdict.level, verdict.blind.errors) == ("court", 0)
    assert done.alpha <= 1.15 * found.alpha
    assert verdict.blind.z >= 0.97 * found.z


def test_weights_that_carry_no_mark_are_left_alone_and_inputs_are_not_changed(made: Make) -> None:
    weights, layout, found, _, mark = made()
    before = {name: value.clone() for name, value in weights.items()}
    marked, _ = embedded(weights, mark, found)
    names = {layer.name for layer in layout.layers}
    assert names == {"b.weight", "c.weight"}
    for name, value in weights.items():
        assert torch.equal(value, before[name])
        assert torch.equal(value, marked[name]) == (name not in names)


def test_the_same_inputs_give_the_same_bytes(made: Make) -> None:
    weights, _, found, _, mark = made()
    first, second = (embedded(weights, mark, found)[0] for _ in range(2))
    assert encode(first, {}) == encode(second, {})


def test_zeros_of_a_pruned_network_stay_zero(made: Make) -> None:
    weights, layout, found, _, mark = made()
    for layer in layout.layers:
        weights[layer.name] *= torch.rand(layer.shape, generator=torch.Generator().manual_seed(5)) < 0.5
    marked, _ = embedded(weights, mark, found)
    for layer in layout.layers:
        assert torch.equal(marked[layer.name] == 0, weights[layer.name] == 0)
    assert verify(marked, mark).level == "court"


def test_another_nonce_key_or_tensor_name_sees_noise(made: Make) -> None:
    weights, layout, found, _, mark = made()
    marked, _ = embedded(weights, mark, found)
    for other in (mark_of(layout, 1), mark_of(layout, 0, WatermarkKey(b"x" * 32)), mark_of(layout, round="2026Q4")):
        assert abs(verify(marked, other).blind.z) < 5
    moved = {**marked, "b.weight": gaussian(3)["b.weight"]}
    parts = verify(moved, mark).blind.parts
    assert abs(parts[0].z) < 5 < parts[1].z


def test_a_layer_that_is_missing_or_cut_leaves_the_others_as_they_were(made: Make) -> None:
    weights, _, found, _, mark = made()
    marked, _ = embedded(weights, mark, found)
    whole = verify(marked, mark)
    for other in (
        {name: value for name, value in marked.items() if name != "b.weight"},
        marked | {"b.weight": marked["b.weight"][:8]},
    ):
        verdict = verify(other, mark)
        assert verdict.missing == ("b.weight",)
        assert verdict.blind.parts == whole.blind.parts[1:]
        assert verdict.holds


def test_scales_that_do_not_change_the_function_do_not_change_the_evidence(made: Make) -> None:
    weights, _, found, _, mark = made()
    marked, _ = embedded(weights, mark, found)
    rng = torch.Generator().manual_seed(1)
    by = {
        name: torch.exp(1.5 * torch.randn(count, generator=rng)) for name, count in (("b", 64), ("c", 128), ("i", 32))
    }
    scaled = marked | {
        "b.weight": marked["b.weight"] * by["b"][:, None, None, None] * by["i"][None, :, None, None],
        "c.weight": marked["c.weight"] * by["c"][:, None] / by["b"].repeat_interleave(4)[None],
    }
    assert verify(scaled, mark).blind.z == pytest.approx(verify(marked, mark).blind.z, rel=1e-4)


def test_a_flipped_norm_behind_a_layer_is_seen_through() -> None:
    weights = {f"net.{name}": value for name, value in gaussian().items()}
    names = {
        "net.a.weight": "net.0.weight",
        "net.b.weight": "net.3.weight",
        "net.c.weight": "net.6.weight",
        "net.d.weight": "net.9.weight",
    }
    weights = {names[name]: value for name, value in weights.items() if name in names}
    weights |= {"net.4.weight": torch.randn(64), "net.4.running_var": torch.ones(64)}
    layout = layout_of(weights)
    assert [layer.norm for layer in layout.layers] == ["net.4.weight", ""]
    mark, found = mark_of(layout), plan(layout.count)
    marked, _ = embedded(weights, mark, found)
    flip = torch.where(torch.rand(64) < 0.5, -1.0, 1.0)
    flipped = marked | {
        "net.3.weight": marked["net.3.weight"] * flip[:, None, None, None],
        "net.4.weight": marked["net.4.weight"] * flip,
    }
    assert verify(flipped, mark).blind.z == pytest.approx(verify(marked, mark).blind.z, rel=1e-4)


def test_z_of_strangers_is_normal(strangers: Strangers) -> None:
    """Blind, and against a sidecar on a network that was trained on from it: p-values of the unmarked are uniform."""
    weights = gaussian(1)
    layout = layout_of(weights)
    moved = {
        name: value + 0.1 * value.std() * torch.randn(value.shape, generator=torch.Generator().manual_seed(9))
        for name, value in weights.items()
    }
    sidecar = sidecar_of(weights, layout)
    marks = strangers(layout, 300)
    for found in (
        [blind(weights, one, layout.layers).z for one in marks],
        [residual(moved, one, sidecar, layout.layers).z for one in marks],
    ):
        assert kstest(norm.sf(found), "uniform").pvalue > 0.01
        assert max(found) < 5


@pytest.mark.parametrize("hostile", ["one huge weight", "one weight", "sign of nothing", "constant"])
def test_hostile_weights_do_not_get_more_than_the_bound(hostile: str, strangers: Strangers) -> None:
    weights = gaussian(2)
    if hostile == "one huge weight":
        weights["b.weight"][0, 0, 0, 0] = 1e6
    elif hostile == "one weight":
        weights["b.weight"].zero_()
        weights["c.weight"].zero_()
        weights["c.weight"][3, 4] = 1.0
    elif hostile == "sign of nothing":
        weights["b.weight"].zero_()
        weights["c.weight"].zero_()
    else:
        weights["b.weight"].fill_(1.0)
    layout = layout_of(gaussian(2))
    found = np.array([blind(weights, one, layout.layers).z for one in strangers(layout, 200)])
    for t in (1.0, 2.0, 3.0):
        assert (found >= t).mean() <= 10 ** log10_tail(t) + 3 * math.sqrt(10 ** log10_tail(t) / 200)
    if hostile == "sign of nothing":
        assert not found.any()


def test_the_residual_sees_more_than_the_weights_alone_and_nothing_in_the_base(made: Make) -> None:
    weights, layout, found, _, mark = made()
    sidecar = sidecar_of(weights, layout)
    marked, _ = embedded(weights, mark, found)
    verdict = verify(marked, mark, sidecar=sidecar)
    assert [one.mode for one in verdict.readings] == ["blind", "residual"]
    assert verdict.readings[1].z > 4 * verdict.blind.z
    assert verdict.tries.count == 4
    base = {layer.name: sidecar[layer.name].float() for layer in layout.layers}
    assert verify(base, mark, sidecar=sidecar).readings[1].z == 0.0


def test_a_reference_that_carries_the_mark_accuses_the_innocent_so_it_must_be_the_claims(made: Make) -> None:
    """Why a sidecar's digest stands in the claim: aligned to the marked weights, an innocent gets their signs."""
    weights, layout, found, _, mark = made(profile=Profile.fortress)
    marked, _ = embedded(weights, mark, found)
    innocent = gaussian(77)
    rows = {}
    for layer in layout.layers:
        other, own = (one[layer.name].flatten(1) for one in (innocent, marked))
        u, v = other / other.norm(dim=1, keepdim=True), own / own.norm(dim=1, keepdim=True)
        best = (u @ v.T).abs().argmax(dim=0)
        sign = torch.sign((u[best] * v).sum(dim=1, keepdim=True))
        rows[layer.name] = (other[best] * sign).reshape(layer.shape)
    assert verify(rows, mark).blind.z > 1
    assert abs(verify(innocent, mark).blind.z) < 4


def test_training_may_take_from_a_mark_and_projection_gives_it_back(made: Make) -> None:
    weights, layout, found, _, mark = made()
    marked, _ = embedded(weights, mark, found)
    rng = torch.Generator().manual_seed(3)
    for layer in layout.layers:
        marked[layer.name] += 0.5 * marked[layer.name].std() * torch.randn(layer.shape, generator=rng)
    assert float(measure(marked, mark)[1].margins.min()) < found.margin
    for _ in range(3):
        project(marked, mark, found.margin)
    assert float(measure(marked, mark)[1].margins.min()) >= found.margin
    assert project(marked, mark, found.margin) == 0.0


def test_a_recipients_copy_names_the_recipient_and_keeps_the_owners_mark(made: Make) -> None:
    weights, layout, found, _, mark = made()
    owned, _ = embedded(weights, mark, found)
    marks = {f"claim {number}": mark_of(layout, 100 + number) for number in range(6)}
    copies = [embedded(owned, one, found, holding=[(mark, found.margin)])[0] for one in list(marks.values())[:3]]
    for number, copy in enumerate(copies):
        assert float(measure(copy, mark)[1].margins.min()) >= found.margin
        named = [one.claim_id for one in trace(copy, owned, marks) if one.named]
        assert named == [f"claim {number}"]
    mixed = {name: torch.stack([copy[name] for copy in copies]).mean(dim=0) for name in owned}
    assert {one.claim_id for one in trace(mixed, owned, marks) if one.named} == {"claim 0", "claim 1", "claim 2"}
    assert verify(mixed, mark).level == "court"
    taken = {name: 2 * owned[name] - copies[0][name] for name in owned}
    (thief,) = [one for one in trace(taken, owned, marks) if one.named]
    assert (thief.claim_id, thief.subtracted) == ("claim 0", True)
    assert not [one for one in trace(owned, owned, marks) if one.named]


def test_the_size_rule_gives_the_lengths_and_the_loudness_of_the_design() -> None:
    table = {
        16_000: (16, 0.149),
        22_000: (16, 0.127),
        50_000: (32, 0.086),
        88_000: (32, 0.065),
        100_000: (64, 0.080),
        200_000: (128, 0.080),
        500_000: (256, 0.0715),
        557_000: (256, 0.068),
        25_600_000: (256, 0.010),
    }
    for weights, (bits, alpha) in table.items():
        found = plan(weights)
        assert (found.bits, found.level) == (bits, Level.court)
        assert found.alpha == pytest.approx(alpha, abs=6e-4)
    assert plan(8200).level is Level.match
    assert [plan(22_000).leaves, plan(557_000).leaves] == [2, 8]


def test_a_quiet_mark_is_below_the_detectors_bound() -> None:
    found = plan(400_000, profile=Profile.stealth)
    assert (found.margin, int(100 * found.detectable) / 100) == (0.0, 0.59)
    assert found.visibility == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("weights", "knobs", "error", "told"),
    [
        (2999, {}, WatermarkError, "2999 weights"),
        (5000, {}, WatermarkError, "alpha 0.191"),
        (9000, {"level": Level.court}, WatermarkError, "court"),
        (50_000, {"bits": 24}, ConfigError, "power of two"),
        (50_000, {"bits": 512}, ConfigError, "power of two"),
        (50_000, {"leaves": 3}, ConfigError, "power of two"),
        (50_000, {"headroom": 0.5}, ConfigError, "headroom"),
    ],
)
def test_what_does_not_fit_is_refused_with_figures(weights: int, knobs: Any, error: type, told: str) -> None:
    with pytest.raises(error, match=told):
        plan(weights, **knobs)


def test_a_slot_that_is_too_small_for_its_margin_is_refused(made: Make) -> None:
    weights, layout, found, _, mark = made()
    for layer in layout.layers:
        weights[layer.name].flatten()[200:] = 0
    with pytest.raises(WatermarkError, match="more than"):
        embedded(weights, mark, found)


def test_numbers_that_are_not_finite_are_refused(made: Make) -> None:
    weights, _, found, _, mark = made()
    weights["b.weight"][0, 0, 0, 0] = math.nan
    with pytest.raises(WatermarkError, match=r"b\.weight"):
        embedded(weights, mark, found)
    with pytest.raises(WatermarkError, match=r"b\.weight"):
        verify(weights, mark)


def test_a_claim_for_other_weights_says_which(made: Make) -> None:
    *_, mark = made()
    with pytest.raises(WatermarkError, match=r"this claim is for weights with a tensor 'b.weight'"):
        verify({"x": torch.ones(3)}, mark)


def test_networks_without_a_layer_between_their_ends_are_refused() -> None:
    with pytest.raises(WatermarkError, match="no layer to be marked"):
        layout_of({"a.weight": torch.ones(30, 30), "b.weight": torch.ones(10, 30)})
    with pytest.raises(WatermarkError, match="transformer"):
        layout_of({"blocks.0.attn.qkv.weight": torch.ones(30, 30)})


def test_layers_of_a_chain_share_their_axes() -> None:
    first, second = layout_of(gaussian()).layers
    assert (second.in_axis, second.positions, first.bias) == (first.out_axis, 4, "b.bias")
