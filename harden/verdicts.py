"""What an evaluation came to, printed on stdout."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from harden.evaluation import evidence
from harden.evaluation.verify import Check

SHOWN = 12
"""How many numbers that do not hold are printed one by one."""


GRAVE = ("worst_case", "suite", "sections", "x_adv", "clean", "attacks")
"""What is printed first where it does not hold: the headline, what it may be called, what it is evidence of."""


def evaluation_table(told: Mapping[str, Any], folder: Path, recorded: str) -> None:
    """Prints `evaluation.json`: the attacks, the worst case, what stands beside it, where the evidence lies."""
    out = _console()
    threat, suite = told["threat"], told["suite"]
    title = f"{told['data']['name']}, {threat['norm']} eps {threat['eps']}, {suite['label']}"
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    table.add_column("attack")
    for name in ("broke", "accuracy after it", "passes"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_row("none (clean)", "", percent(told["clean"]), "")
    for one in told["attacks"]:
        table.add_row(one["label"], f"{one['broken']} of {one['attacked']}", percent(one["accuracy"]), _passes(one))
    worst = told["worst_case"]
    table.add_row("worst case", "", percent(worst["accuracy"]), _passes(worst), style="bold")
    out.print(table)
    out.print(f"accuracy on {told['clean']['n']} test images, with 95 % Wilson intervals; the worst case is an upper")
    out.print("bound: a stronger attack may find more")
    for line in _beside(told):
        out.print(line)
    out.print(f"evidence  {folder}")
    out.print(f"report    {folder / evidence.REPORT}")
    out.print(f"run       {recorded}")
    out.print(f"next      python -m harden.evaluate action=verify evidence={folder}")


def verification_table(
    checks: Sequence[Check], told: Mapping[str, Any], *, skipped: Sequence[str], again: bool
) -> None:
    """Prints which numbers hold, those that do not one by one, and what was not looked at.

    `again`: the sanity battery was run once more.
    """
    out = _console()
    wrong = sorted((check for check in checks if not check.holds), key=lambda check: not check.name.startswith(GRAVE))
    for check in wrong[:SHOWN]:
        said, found = (_short(value) for value in (check.said, check.found))
        out.print(f"does not hold: {check.name}: the evaluation says {said}, found {found}")
    if len(wrong) > SHOWN:
        out.print(f"and {len(wrong) - SHOWN} more")
    out.print(f"{len(checks) - len(wrong)} of {len(checks)} numbers hold; {_worst(told)}")
    left_out = ["times and passes", *skipped]
    if told.get("sanity") and not again:
        left_out.append("the sanity rows and whether the number is reliable (sanity=true attacks once more)")
    out.print(f"not computed again: {', '.join(left_out)}")


def percent(accuracy: Mapping[str, float]) -> str:
    """An accuracy and its interval in per cent."""
    return f"{accuracy['value']:.1%}  [{accuracy['low']:.1%}, {accuracy['high']:.1%}]"


def _beside(told: Mapping[str, Any]) -> Iterator[str]:
    for one in told.get("rechecks", ()):
        if one["flips"]:
            yield f"recheck   {one['name']}: {one['flips']} samples come out otherwise, {percent(one['accuracy'])}"
    for row in told.get("sanity", ()):
        if row["verdict"] in ("failed", "warned"):
            yield f"sanity    {row['number']} {row['name']} {row['verdict']}: {row['figure']}; {row['reason']}"
    if told.get("sanity"):
        verdicts = [row["verdict"] for row in told["sanity"]]
        mark = "" if told["reliable"] else ": the accuracy above is UNRELIABLE"
        yield f"sanity    {verdicts.count('passed')} of {len(verdicts)} checks passed{mark}"
    if "certified" in told:
        bound = told["certified"]
        yield f"bounds    certified {percent(bound['accuracy'])} ({bound['method']}), attacked {_worst(told)}"
    if "smoothed" in told:
        for point in told["smoothed"]["points"]:
            yield f"smoothed  certified within l2 {point['radius']:g}: {percent(point['accuracy'])}"
    for one in told.get("unseen", ()):
        yield f"unseen    {one['label']}: {percent(one['accuracy'])}"
    if "curve" in told:
        yield from _curve(told["curve"])
    if "draws" in told:
        draws, n = told["draws"], len(told["draws"]["accuracies"])
        spread = f"{draws['lowest']:.1%} to {draws['highest']:.1%}, mean {draws['mean']:.1%}"
        yield f"draws     {spread} over {n} draws; all together leave {percent(draws['all'])}"
    yield from _classes(told)
    if "transfer" in told:
        fooled = told["transfer"]["finding"]
        yield "transfer  " + (
            f"fooled more by others' images than by their own: {', '.join(fooled)}"
            if fooled
            else f"each of {len(told['transfer']['models'])} models is fooled most by its own images"
        )
    if "against" in told:
        other = told["against"]
        yield f"against   {other['file']}: {percent(other['worst_case'])}, McNemar p {other['p']:.3g}"


def _curve(curve: Mapping[str, Any]) -> Iterator[str]:
    median = curve["median"]
    yield "curve     half of the images " + (f"break within {median:.3g}" if median else "never break")
    for check in curve["checks"]:
        if check["finding"]:
            found = f"{check['attack']} leaves {percent(check['accuracy'])}, the curve {percent(check['curve'])}"
            yield f"curve     a gap at eps {check['eps']}: {found}"


def _classes(told: Mapping[str, Any]) -> Iterator[str]:
    """The class that withstands the least, if there are images of several."""
    rows = [row for row in told.get("classes", ()) if row["n"]]
    if len(rows) > 1:
        worst = min(rows, key=lambda row: row["robust"]["value"])
        yield f"classes   weakest: {worst['name']}, {percent(worst['robust'])}"


def _worst(told: Mapping[str, Any]) -> str:
    return f"worst case {percent(told['worst_case']['accuracy'])}"


def _passes(one: Mapping[str, Any]) -> str:
    """Forward and backward passes together."""
    return f"{one['forward'] + one['backward']:,}"


def _short(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _console() -> Console:
    return Console(soft_wrap=True, highlight=False, markup=False)
