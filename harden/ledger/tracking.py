"""What the command line says about recording."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from harden.errors import ConfigError


@dataclass(frozen=True)
class Tracking:
    """Where runs are recorded. `uri` None: $MLFLOW_TRACKING_URI, else an SQLite file in `runs/`; `none`: nowhere."""

    uri: str | None = None
    experiment: str | None = None  # None: the name of the data set

    def __post_init__(self) -> None:
        if self.uri and "@" in urlsplit(self.uri).netloc:  # it would stand in config.yaml and in the record
            raise ConfigError(
                "tracking.uri must not hold a user or password",
                "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
            )
