"""How many bits fit into how many weights, and how loud they must be."""

import math
from dataclasses import dataclass, replace
from enum import Enum

from harden.errors import ConfigError, WatermarkError
from harden.watermarking.pvalue import COURT, MATCH, z_at

BIT = 1536
"""Weights a bit, at least."""
SHORTEST, LONGEST = 16, 256
SMALLEST = 3000
"""Weights below which no mark is worth it."""
QUIET = 0.08
"""N alpha^4 of the stealth profile: a detector of the variance has an area under its curve of 0.6 at most."""
LEAF_Z = 12.9
"""Z that one leaf should show by itself."""
MOST_LEAVES = 16


class Profile(Enum):
    """How loud a mark is."""

    stealth = "stealth"  # quiet; found with the sidecar only
    standard = "standard"  # survives four quarterly rounds
    fortress = "fortress"  # survives harsher attacks, costs more


class Level(Enum):
    """How strong the evidence shall be."""

    auto = "auto"  # court where it fits, else match
    court = "court"  # p <= 2^-128
    match = "match"  # p <= 2^-64


@dataclass(frozen=True)
class Loudness:
    """What a profile asks for: headroom over the level's Z, the least margin D of a bit, the largest alpha."""

    headroom: float
    margin: float
    cap: float


LOUDNESS = {
    Profile.stealth: Loudness(headroom=0.0, margin=0.0, cap=0.05),
    Profile.standard: Loudness(headroom=1.4, margin=3.0, cap=0.15),
    Profile.fortress: Loudness(headroom=2.0, margin=5.0, cap=0.25),
}


@dataclass(frozen=True)
class Plan:
    """What will be embedded: L bits with margin D each (0: a fixed step), alpha, the Z that comes of it, leaves."""

    profile: Profile
    level: Level
    bits: int
    margin: float
    alpha: float
    z: float
    leaves: int
    weights: int

    @property
    def visibility(self) -> float:
        """q = N alpha^4 / 4: what a detector that knows the variance of unmarked layers can go by."""
        return self.weights * self.alpha**4 / 4

    @property
    def detectable(self) -> float:
        """The bound on such a detector's area under its curve."""
        tv = min(1.0, math.sqrt(self.visibility / 2))
        return 0.5 + tv - tv * tv / 2


def plan(
    weights: int,
    *,
    profile: Profile = Profile.standard,
    level: Level = Level.auto,
    bits: int | None = None,
    headroom: float | None = None,
    leaves: int | None = None,
) -> Plan:
    """The mark for so many eligible weights.

    Raises ConfigError for `bits` or `leaves` that are no power of two in range, WatermarkError where the mark would
    have to be louder than the profile allows.
    """
    _check("bits", bits, SHORTEST, LONGEST)
    _check("leaves", leaves, 1, MOST_LEAVES)
    if weights < SMALLEST:
        raise WatermarkError(
            f"the network has {weights} weights that can carry a mark, wanted at least {SMALLEST}",
            "use a wider network: the default ones have enough",
        )
    length = bits or min(max(_power(weights / BIT), SHORTEST), LONGEST)
    if profile is Profile.stealth:
        made = _quiet(weights, length, level)
    else:
        made = _loud(weights, length, profile, level, headroom)
    if leaves and leaves > length:
        raise ConfigError(f"there cannot be more leaves than bits, got {leaves} leaves and {length} bits")
    return replace(made, leaves=leaves or max(1, min(MOST_LEAVES, _power((made.z / LEAF_Z) ** 2))))


def _loud(weights: int, length: int, profile: Profile, level: Level, headroom: float | None) -> Plan:
    knobs = LOUDNESS[profile]
    room = knobs.headroom if headroom is None else headroom
    if not room >= 1:
        raise ConfigError(f"headroom must be at least 1, got {room:g}")
    wanted = [Level.court, Level.match] if level is Level.auto else [level]
    plans = []
    for one in wanted:
        z = max(room * z_at(COURT if one is Level.court else MATCH), knobs.margin * math.sqrt(length))
        alpha = math.sqrt((z * z + length) / weights)
        plans.append(Plan(profile, one, length, z / math.sqrt(length), alpha, z, 1, weights))
    fitting = [one for one in plans if one.alpha <= knobs.cap]
    if not fitting:
        quietest = plans[-1]
        raise WatermarkError(
            f"{length} bits in {weights} weights at level {quietest.level.value} need alpha {quietest.alpha:.3f}, the "
            f"{profile.value} profile allows {knobs.cap:g}",
            "use a larger network, profile=fortress, bits=16, or a smaller headroom=",
        )
    return fitting[0]


def _quiet(weights: int, length: int, level: Level) -> Plan:
    alpha = min((QUIET / weights) ** 0.25, LOUDNESS[Profile.stealth].cap)
    z = alpha * math.sqrt(weights)
    reached = Level.court if z >= z_at(COURT) else Level.match
    return Plan(Profile.stealth, level if level is not Level.auto else reached, length, 0.0, alpha, z, 1, weights)


def _power(value: float) -> int:
    """The largest power of two up to `value`; 0 below 1."""
    return 0 if value < 1 else 1 << int(math.log2(value))


def _check(name: str, value: int | None, low: int, high: int) -> None:
    if value is not None and not (low <= value <= high and value & (value - 1) == 0):
        raise ConfigError(f"{name} must be a power of two in {low}..{high}, got {value}")
