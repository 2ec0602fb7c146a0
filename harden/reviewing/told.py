"""What a tracking store holds of a round, as plain values: all that a review is made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harden.rounds.quarter import Quarter


@dataclass(frozen=True)
class Told:
    """One round. Mappings are what its stages wrote; `run`: its id in the store; `link`: where a browser finds it.

    entries: for each stage its inputs, outputs, timed files, figures, begin (Unix time) and seconds. record: SHA-256
    of the signed record, "" before there is one. environment: versions, commit, machine.
    """

    round: str
    programme: str
    number: int
    previous: str
    run: str
    link: str
    promoted: bool
    plan: Mapping[str, Any]
    proposed: Mapping[str, Any]
    edits: Mapping[str, Any]
    training: Mapping[str, Any]
    mark: Mapping[str, Any]
    validation: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    comparison: Mapping[str, Any]
    replay: Mapping[str, Any]
    gates: Mapping[str, Any]
    after: Mapping[str, Any]
    entries: Mapping[str, Any]
    environment: Mapping[str, str]
    record: str = ""

    @property
    def quarter(self) -> Quarter:
        """The round's quarter."""
        return Quarter.of(self.round)

    @property
    def eps(self) -> str:
        """The radius, as it was written."""
        return str(self.plan["recipe"]["threat"]["eps"])

    @property
    def threat(self) -> str:
        """Norm and radius as tables print them."""
        return f"{self.evaluation['threat']['norm']} eps {self.eps}"

    @property
    def worst(self) -> Mapping[str, float]:
        """The worst case on test images."""
        found: Mapping[str, float] = self.evaluation["worst_case"]["accuracy"]
        return found

    @property
    def clean(self) -> Mapping[str, float]:
        """Clean accuracy on test images."""
        found: Mapping[str, float] = self.evaluation["clean"]
        return found

    @property
    def seconds(self) -> float:
        """Of all stages together."""
        return float(sum(one["seconds"] for one in self.entries.values()))

    @property
    def champion(self) -> str | None:
        """The round whose model was the champion before this one; None without any."""
        found: str | None = self.entries["compare"]["result"]["champion"]
        return found

    def under_suite(self, name: str) -> Mapping[str, Any] | None:
        """The model of round `name` as this round's suite found it: clean, worst, flags; None where not measured."""
        rows = (row for row in self.comparison["models"] if row["round"] == name)
        return next(rows, None)
