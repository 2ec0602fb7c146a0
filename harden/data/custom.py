"""Data sets made by the user's own function."""

from collections.abc import Mapping
from dataclasses import dataclass

from harden.data.arrays import from_arrays
from harden.data.choice import TEST_SHARE, DataChoice, Progress, check_share
from harden.data.dataset import DataSet
from harden.entry import current_folder_importable, resolve
from harden.errors import ConfigError, DataError, HardenError


@dataclass(frozen=True, kw_only=True)
class Custom(DataChoice):
    """Your own function: it takes nothing and returns a DataSet, or a dict of arrays as in an .npz file."""

    entry: str | None = None  # package.module:function, found in the current folder or where it is installed
    test_share: float = TEST_SHARE  # part held out as test set where the dict has none; fixed, by class

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share(self.test_share)

    def read(self, *, progress: Progress) -> DataSet:
        """What the function returns. Raises ConfigError where there is none, DataError where it fails."""
        if self.entry is None:
            raise ConfigError("data=custom needs data.entry, got none", "data.entry=package.module:function")
        made = _call(self.entry)
        if isinstance(made, DataSet):
            return made
        if isinstance(made, Mapping):
            name = self.entry.partition(":")[2]
            return from_arrays(made, name=name, source=self.entry, test_share=self.test_share)
        raise DataError(f"data.entry={self.entry}: returned {type(made).__name__}, wanted DataSet or a dict of arrays")


def _call(entry: str) -> object:
    function = resolve(entry, option="data.entry")
    if not callable(function):
        raise ConfigError(f"data.entry={entry}: is {type(function).__name__}, wanted a function")
    try:
        with current_folder_importable():
            made: object = function()
    except HardenError:
        raise
    except Exception as error:  # the user's code may raise anything; its traceback stays as the cause
        reason = " ".join(str(error).split())
        raise DataError(f"data.entry={entry}: failed: {type(error).__name__}: {reason}") from error
    return made
