"""`action=verify`: every number is found again, and none that somebody changed holds."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import harden.evaluate
import harden.train

from .conftest import TINY, Ask, edit, main_of


def test_every_number_is_found_again(ask: Ask, evidence: Path) -> None:
    code, out, _ = ask("action=verify", f"evidence={evidence}")
    assert code == 0
    holds, of = out.split(" numbers hold")[0].split()[-3::2]
    assert holds == of
    assert int(of) > 200


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "the worst case": lambda told: told["worst_case"]["accuracy"].update(value=0.99),
    "an attack": lambda told: told["attacks"][0].update(broken=59),
    "the clean accuracy": lambda told: told["clean"].update(high=1.0),
    "a class": lambda told: told["classes"][3].update(n=1),
    "the curve": lambda told: told["curve"]["points"][5]["accuracy"].update(value=0.9),
    "a recheck": lambda told: told["rechecks"][2].update(flips=7),
    "an unseen threat": lambda told: told["unseen"][4]["accuracy"].update(value=1.0),
    "the certificate": lambda told: told["certified"]["accuracy"].update(value=0.9),
    "the comparison": lambda told: told["against"].update(p=0.01),
    "the number of images": lambda told: told["data"].update(n=10_000),
    "the reliability": lambda told: told.update(reliable=not told["reliable"]),
    "the attack of the curve": lambda told: told["curve"].update(attack="AA"),
    "the other draws": lambda told: told["draws"].update(mean=0.9),
    "the transfer matrix": lambda told: told["transfer"]["accuracy"][1][0].update(value=0.9),
    "a row of the battery": lambda told: told["sanity"].pop(),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_number_that_somebody_changed_does_not_hold(what: str, ask: Ask, evidence: Path) -> None:
    edit(evidence, CHANGES[what])
    code, out, _ = ask("action=verify", f"evidence={evidence}")
    assert code == 4
    assert out.count("does not hold") - out.count("does not hold: report") == 1


@pytest.mark.parametrize("name", ["per_sample.npz", "x_adv.safetensors"])
def test_evidence_with_another_digest_is_not_trusted(name: str, ask: Ask, evidence: Path) -> None:
    data = bytearray((evidence / name).read_bytes())
    data[-5] ^= 1
    (evidence / name).write_bytes(data)
    code, _, err = ask("action=verify", f"evidence={evidence}")
    assert code == 4
    assert f"{name}: its digest is" in err
    (evidence / name).unlink()
    assert ask("action=verify", f"evidence={evidence}")[0] == 4


def test_images_that_break_nothing_do_not_hold_even_with_digests_to_match(ask: Ask, evidence: Path) -> None:
    images, metadata = _images_of(evidence)
    key = _most(images)
    images[key] = torch.full_like(images[key], 0.5)
    save_file(images, evidence / "x_adv.safetensors", metadata=metadata)
    edit(evidence, dict, seal=True)
    code, out, _ = ask("action=verify", f"evidence={evidence}")
    assert code == 4
    assert "worst_case.accuracy.value" in out


def _read(path: Path) -> dict[str, Any]:
    return dict(np.load(path / "per_sample.npz"))


def _write(path: Path, columns: dict[str, Any]) -> None:
    np.savez_compressed(path / "per_sample.npz", **columns)
    edit(path, dict, seal=True)


def test_the_samples_are_the_first_ones_each_once(ask: Ask, evidence: Path) -> None:
    columns = _read(evidence)
    columns["ids"] = np.where(columns["ids"] == 5, 4, columns["ids"])
    _write(evidence, columns)
    code, out, _ = ask("action=verify", f"evidence={evidence}")
    assert (code, "does not hold: per_sample.ids" in out) == (4, True)


@pytest.mark.parametrize("name", ["certified", "unseen.fog", "against.robust", "draw.2", "attacked_as", "pgd.distance"])
def test_a_column_that_somebody_changed_does_not_hold(name: str, ask: Ask, evidence: Path) -> None:
    columns = _read(evidence)
    columns[name] = np.logical_not(columns[name]) if columns[name].dtype == bool else columns[name] + 1
    _write(evidence, columns)
    code, out, _ = ask("action=verify", f"evidence={evidence}")
    assert (code, f"does not hold: per_sample.{name}" in out or "more" in out) == (4, True)


def _rename(told: dict[str, Any]) -> None:
    told["attacks"][0]["label"] = "APGD-T-1000 (9 targets)"


def _another_name(told: dict[str, Any]) -> None:
    told["data"]["name"] = "imagenet"


def _another_network(told: dict[str, Any]) -> None:
    told["weights"]["model"] = "resnet152"


def _no_cascade(told: dict[str, Any]) -> None:
    told["suite"]["cascade"] = False


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (_rename, "attacks.pgd.label"),
        (_another_name, "data.name"),
        (_another_network, "weights.model"),
        (_no_cascade, "suite.cascade"),
    ],
)
def test_a_word_that_somebody_changed_does_not_hold(
    change: Callable[[dict[str, Any]], None], wrong: str, ask: Ask, evidence: Path
) -> None:
    edit(evidence, change)
    code, out, _ = ask("action=verify", f"evidence={evidence}")
    assert (code, f"does not hold: {wrong}" in out) == (4, True)


def test_a_suite_whose_attacks_were_cut_is_not_trusted(ask: Ask, evidence: Path) -> None:
    edit(evidence, lambda told: told["attacks"].pop())
    code, _, err = ask("action=verify", f"evidence={evidence}")
    assert (code, "are not those of the suite" in err) == (4, True)


NONSENSE: dict[str, Callable[[dict[str, Any]], object]] = {
    "a batch of none": lambda told: told.update(batch_size=0),
    "a batch beyond measure": lambda told: told.update(batch_size=10**12),
    "a batch of words": lambda told: told.update(batch_size="abc"),
    "no passes": lambda told: told["asked"].update(eot=0),
    "a seed of words": lambda told: told.update(seed="x"),
    "an accuracy of words": lambda told: told["attacks"][0]["accuracy"].update(value="x"),
    "no clean accuracy": lambda told: told.update(clean=None),
    "rows that are numbers": lambda told: told.update(sanity=[1, 2]),
    "no versions": lambda told: told.pop("versions"),
    "no device": lambda told: told.pop("device"),
    "an eps of words": lambda told: told["threat"].update(eps="much"),
}


@pytest.mark.parametrize("what", NONSENSE)
def test_nonsense_in_the_evidence_is_not_trusted_and_no_traceback(what: str, ask: Ask, evidence: Path) -> None:
    edit(evidence, NONSENSE[what])
    code, out, err = ask("action=verify", f"evidence={evidence}")
    assert code == 4
    assert ("Traceback" in err, "does not hold" in out or "does not fit its evidence" in err) == (False, True)


@pytest.mark.parametrize("change", [lambda x: x[:, :, :4], lambda x: x.double(), lambda x: x[0]])
def test_images_of_another_form_are_not_trusted(
    change: Callable[[torch.Tensor], torch.Tensor], ask: Ask, evidence: Path
) -> None:
    images, metadata = _images_of(evidence)
    images[_most(images)] = change(images[_most(images)]).contiguous()
    save_file(images, evidence / "x_adv.safetensors", metadata=metadata)
    edit(evidence, dict, seal=True)
    code, _, err = ask("action=verify", f"evidence={evidence}")
    assert (code, "does not fit its evidence" in err) == (4, True)


def test_a_report_that_is_gone_does_not_hold(ask: Ask, evidence: Path) -> None:
    (evidence / "report.html").unlink()
    code, out, _ = ask("action=verify", f"evidence={evidence}")
    assert (code, "does not hold: report" in out) == (4, True)


DAMAGE: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "grey": lambda x_adv: torch.full_like(x_adv, 0.5),
    "not a number": lambda x_adv: torch.full_like(x_adv, torch.nan),
    "out of the box": lambda x_adv: x_adv + 1.0,
}


@pytest.mark.parametrize("what", DAMAGE)
def test_one_image_that_breaks_nothing_any_more_does_not_hold(what: str, ask: Ask, evidence: Path) -> None:
    images, metadata = _images_of(evidence)
    key = _most(images)
    images[key][0] = DAMAGE[what](images[key][0])
    save_file(images, evidence / "x_adv.safetensors", metadata=metadata)
    edit(evidence, dict, seal=True)
    code, out, _ = ask("action=verify", f"evidence={evidence}")
    assert code == 4
    assert f"does not hold: attacks.{key.removesuffix('.x_adv')}.broken" in out


def test_an_image_that_is_missing_is_told(ask: Ask, evidence: Path) -> None:
    images, metadata = _images_of(evidence)
    key = _most(images)
    images[key] = images[key][1:].contiguous()
    save_file(images, evidence / "x_adv.safetensors", metadata=metadata)
    edit(evidence, dict, seal=True)
    code, _, err = ask("action=verify", f"evidence={evidence}")
    assert (code, "holds another number of images" in err) == (4, True)


def _drop_a_section(told: dict[str, Any]) -> None:
    del told["unseen"]


def _invent_a_section(told: dict[str, Any]) -> None:
    told["smoothed"] = {"sigma": 1.0, "n": 1, "alpha": 0.1, "points": [], "abstained": 0}


def _drop_what_was_asked_for(told: dict[str, Any]) -> None:
    del told["unseen"]
    told["asked"]["unseen"] = False


@pytest.mark.parametrize(
    ("change", "wrong"),
    [(_drop_a_section, "sections"), (_invent_a_section, "sections"), (_drop_what_was_asked_for, "x_adv.bound")],
)
def test_a_section_left_out_or_added_is_noticed(
    change: Callable[[dict[str, Any]], None], wrong: str, ask: Ask, evidence: Path
) -> None:
    edit(evidence, change)
    code, out, _ = ask("action=verify", f"evidence={evidence}")
    assert (code, f"does not hold: {wrong}" in out) == (4, True)


def test_the_seed_belongs_to_the_evidence(ask: Ask, evidence: Path) -> None:
    edit(evidence, lambda told: told.update(seed=7))
    code, out, _ = ask("action=verify", f"evidence={evidence}")
    assert code == 4
    assert "does not hold: x_adv.bound" in out


def test_a_report_that_tells_something_else_does_not_hold(ask: Ask, evidence: Path) -> None:
    page = evidence / "report.html"
    page.write_text(page.read_text().replace("%", "&#37;", 1))
    code, out, _ = ask("action=verify", f"evidence={evidence}")
    assert (code, out.count("does not hold")) == (4, 1)
    assert "does not hold: report" in out


def test_the_worst_case_that_is_printed_is_the_one_found(ask: Ask, evidence: Path) -> None:
    true = json.loads((evidence / "evaluation.json").read_text())["worst_case"]["accuracy"]["value"]
    edit(evidence, lambda told: told["worst_case"]["accuracy"].update(value=0.99))
    _, out, _ = ask("action=verify", f"evidence={evidence}")
    assert f"worst case {true:.1%}" in out.split("numbers hold")[1]


def test_other_weights_that_are_gone_are_asked_for_or_skipped(ask: Ask, evidence: Path) -> None:
    edit(evidence, lambda told: told["against"].update(file="gone.safetensors"))
    code, _, err = ask("action=verify", f"evidence={evidence}")
    assert (code, "the other weights are not there" in err) == (1, True)
    code, out, _ = ask("action=verify", f"evidence={evidence}", "skip=[against]")
    assert "does not hold" not in out.replace("does not hold: report", "")
    assert "not computed again: times and passes, against" in out
    assert ask("action=verify", f"evidence={evidence}", "skip=[worst_case]")[0] == 2


def _most(images: dict[str, torch.Tensor]) -> str:
    """The images of the suite's attack that broke most."""
    return max((f"{name}.x_adv" for name in ("pgd", "apgd_ce", "fab_t")), key=lambda key: len(images[key]))


def _images_of(evidence: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    with safe_open(evidence / "x_adv.safetensors", framework="pt") as file:
        return load_file(evidence / "x_adv.safetensors"), file.metadata()


def test_another_suite_cannot_be_called_autoattack_nor_another_eps_be_said(ask: Ask, evidence: Path) -> None:
    def forge(told: dict[str, Any]) -> None:
        told["suite"].update(name="standard", label="AA")
        told["threat"].update(eps="0.3")

    edit(evidence, forge)
    code, out, _ = ask("action=verify", f"evidence={evidence}")
    assert code == 4
    assert "does not hold: suite.label: the evaluation says AA" in out
    assert "does not hold: x_adv.bound" in out


def test_a_certificate_is_computed_again_not_read(ask: Ask, evidence: Path) -> None:
    columns = dict(np.load(evidence / "per_sample.npz"))
    columns["certified"] = np.ones_like(columns["certified"])
    np.savez_compressed(evidence / "per_sample.npz", **columns)
    n = len(columns["certified"])
    whole = {"value": 1.0, "low": 0.0, "high": 1.0, "n": n}
    edit(evidence, lambda told: told["certified"]["accuracy"].update(whole), seal=True)
    code, out, _ = ask("action=verify", f"evidence={evidence}")
    assert code == 4
    assert "does not hold: certified.accuracy.value" in out


def test_other_weights_are_not_those_that_were_evaluated(ask: Ask, evidence: Path, weights: Path) -> None:
    other = weights.parent / "ordinary.safetensors"
    assert main_of(harden.train.main, *TINY, "seed=1", f"output={evidence.parent / 'other'}") == 0
    other = evidence.parent / "other" / "weights.safetensors"
    code, _, err = ask("action=verify", f"evidence={evidence}", f"weights={other}")
    assert code == 4
    assert "these are not the weights that were evaluated" in err
