"""What can go wrong on a user's side: one message, one hint, one exit code a class.

Rooms raise; only doors turn an error into text. Programmer mistakes stay `TypeError` and `ValueError`.
"""


class HardenError(Exception):
    """Something could not be done. `message` says what, where, got and wanted; `hint` names the way out."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(HardenError):
    """The request makes no sense: an unknown key or option, a value out of range, options that contradict."""

    exit_code = 2


class DataError(HardenError):
    """The data cannot be had, read or used."""


class WeightsError(HardenError):
    """A weights file cannot be read or does not fit the model."""


class Untrusted(HardenError):
    """A file is not what it claims to be (wrong digest), or could run code when opened (a pickle)."""

    exit_code = 4


class SealError(HardenError):
    """A sealed file, its keys or its trust cannot be used; the finer classes are in `harden.sealing.errors`."""


class WatermarkError(HardenError):
    """Weights cannot carry a mark, or a mark cannot be looked for in them; "not ours" is an answer, no error."""


class TrainingError(HardenError):
    """Training could not go on; the message says where the last good checkpoint lies."""


class LedgerError(HardenError):
    """The tracking store refused or could not be reached."""


class MissingExtra(HardenError):
    """A feature needs an optional dependency that is not installed."""


class Interrupted(HardenError):
    """The user or the system asked the run to stop, and it did so at a clean point."""

    exit_code = 130
