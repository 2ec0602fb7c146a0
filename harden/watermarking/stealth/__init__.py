"""How visible a mark is to somebody without the key: a bound that follows from its loudness, and trained detectors."""

from harden.watermarking.stealth.law import Visibility, visibility

__all__ = ["Visibility", "visibility"]
