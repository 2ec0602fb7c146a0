"""Sealed weights: encrypted, signed, bound to what they are."""
