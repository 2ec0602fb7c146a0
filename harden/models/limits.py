"""Sizes that no network can have and images too small for one, refused in the user's own words."""

from harden.errors import ConfigError

Shape = tuple[int, int, int]
"""One image: channels, height, width."""


def check_sizes(option: str, *values: int) -> None:
    """Raises ConfigError, naming `model.<option>`, unless every one of `values` is at least 1."""
    for value in values:
        if value < 1:
            raise ConfigError(f"model.{option} must be at least 1, got {value}")


def check_side(model: str, shape: Shape, *, least: int) -> None:
    """Raises ConfigError where a side of the image has fewer than `least` pixels."""
    if min(shape[1:]) < least:
        got = f"{shape[1]}x{shape[2]}"
        raise ConfigError(
            f"model {model} needs images of at least {least}x{least} pixels, got {got}",
            "model=cnn_small and model=mlp take images of any size",
        )
