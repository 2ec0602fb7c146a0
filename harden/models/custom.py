"""A network from the user's own code."""

from dataclasses import dataclass, field
from typing import Any

from torch import nn

from harden.entry import current_folder_importable, resolve
from harden.errors import ConfigError
from harden.models.limits import Shape

OPTION = "model.entry"


@dataclass(frozen=True)
class CustomModel:
    """What the function at `entry` builds: `build(shape, classes, **arguments) -> nn.Module`.

    `entry`: package.module:name, the current folder is searched too; `arguments`: plain JSON values.
    The module gets raw pixels in [0, 1], shape (n, c, h, w), normalises them itself and returns logits
    (n, classes); it draws its first weights from torch's global generator, which is seeded around the call.
    """

    entry: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)

    def network(self, shape: Shape, classes: int) -> nn.Module:
        """The user's module; raises ConfigError where it cannot be built or is no module."""
        if not self.entry:
            raise ConfigError(f"model=custom needs {OPTION}", f"for example {OPTION}=mynets:build")
        net = self._call(resolve(self.entry, option=OPTION), shape, classes)
        if not isinstance(net, nn.Module):
            raise ConfigError(f"{OPTION}: {self.entry} must return a torch.nn.Module, got {type(net).__name__}")
        return net

    def _call(self, builder: Any, shape: Shape, classes: int) -> Any:
        try:
            with current_folder_importable():
                return builder(shape, classes, **self.arguments)
        except Exception as error:  # the builder is the user's: what it raises is open
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise ConfigError(
                f"{OPTION}: {self.entry}({shape}, {classes}, **{self.arguments}) failed: {reason}",
                "it is called as build(shape, classes, **arguments)",
            ) from error
