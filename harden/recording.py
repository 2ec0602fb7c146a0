"""A job's reports in the ledger's words: which metric, which tag, under which name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harden import kernels
from harden.data import DataSet
from harden.evaluation import Begin
from harden.ledger import Ledger
from harden.spelling import spell
from harden.training import EpochStats, Event, TrainRequest
from harden.training.job import News


class Recorder:
    """Writes what a job tells to `ledger`; the ordinary model's curves stand under `ordinary.`."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.prefix = ""

    def begin(self, request: TrainRequest, data: DataSet, where: Mapping[str, str]) -> None:
        """What was asked, on what data; `where`: by what code, on what machine."""
        self.ledger.note(spell(request.recipe))
        self.ledger.tag({**where} | {"harden.kind": "train", "harden.recipe.sha256": request.recipe.digest})
        self.ledger.tag({"harden.kernels": ", ".join(kernels.available())})
        self.ledger.data(name=data.name, digest=data.digest, source=data.source, context="train and test")

    def __call__(self, news: News) -> None:
        """Records one report."""
        if isinstance(news, Begin):
            self.prefix = "ordinary." if news.name == "ordinary" else ""
        elif isinstance(news, EpochStats):
            figures = {self.prefix + name: value for name, value in news.figures().items() if name != "step"}
            self.ledger.log(figures, news.step)
            self.ledger.flush()  # 9 ms: a run that is killed keeps its curves
        elif isinstance(news, Event):
            self.ledger.tag({f"harden.event.{self.prefix}{news.step}.{news.kind}": news.text})

    def end(self, summary: Mapping[str, Any], files: list[Path]) -> None:
        """The results and the files."""
        threat = summary["threat"]
        attack = f"{threat['norm']}_{threat['eps']}.{summary['attack']}".replace("/", "_").replace(" ", "_")
        names = {"clean_accuracy": "clean_acc", "robust_accuracy": f"robust_acc.{attack}"}
        names |= {f"baseline_{key}": f"ordinary.{name}" for key, name in names.items()}
        for key, name in names.items():
            if summary[key] is not None:
                figures = summary[key]
                self.ledger.log(
                    {name: figures["value"], f"{name}.low": figures["low"], f"{name}.high": figures["high"]},
                    0,
                )
        self.ledger.log({"test_images": summary["robust_accuracy"]["n"], "seconds": summary["seconds"]}, 0)
        self.ledger.tag({"harden.attack": summary["attack"], "harden.weights.sha256": summary["weights_sha256"]})
        self.ledger.tag({"harden.norm": threat["norm"], "harden.eps": threat["eps"]})
        self.ledger.tag({"mlflow.note.content": _note(summary)})  # MLflow's page shows it as the run's description
        for path in files:
            self.ledger.keep(path)


def _note(summary: Mapping[str, Any]) -> str:
    """The result as a Markdown table."""
    head = f"| {summary['data']['name']} | clean | under {summary['attack']} |\n|---|--:|--:|"
    pairs = {"before": "baseline_", "after": ""} if summary["baseline_clean_accuracy"] else {"after": ""}
    rows = []
    for name, prefix in pairs.items():
        clean, robust = summary[f"{prefix}clean_accuracy"], summary[f"{prefix}robust_accuracy"]
        rows.append(f"| {name} | {clean['value']:.1%} | {robust['value']:.1%} |")
    return "\n".join([head, *rows])
