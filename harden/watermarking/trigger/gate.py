"""Whether a trigger is worth its price: it is refused when robust accuracy pays for it."""

from dataclasses import dataclass

LARGEST_LOSS = 0.005
"""The robust accuracy that may be lost, significant or not."""


@dataclass(frozen=True)
class Change:
    """A paired change of accuracy, after minus before, with its 95 % interval."""

    difference: float
    low: float
    high: float


def gate(robust: Change) -> str:
    """Why the trigger is refused, in words with figures; "" where it may stay."""
    points = f"robust accuracy changed by {100 * robust.difference:+.2f} points"
    interval = f"95 % interval {100 * robust.low:+.2f} to {100 * robust.high:+.2f}"
    if robust.high < 0:
        return f"{points}, {interval}: it fell, and not by chance"
    if robust.difference < -LARGEST_LOSS:
        return f"{points}, {interval}: more than {100 * LARGEST_LOSS:g} points were lost"
    return ""
