"""What a training is asked for that is to be marked."""

from dataclasses import dataclass

from harden.watermarking.size import Level, Profile


@dataclass(frozen=True)
class OwnerMark:
    """The mark of an owner, kept alive while the network is trained. `key`: the owner's .key file."""

    key: str | None = None
    profile: Profile = Profile.standard
    level: Level = Level.auto
    bits: int | None = None
    headroom: float | None = None
    round: str = ""
    model_id: str = ""
