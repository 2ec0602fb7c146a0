"""Suspects as floating tensors under the owner's names, whatever they are stored as; never by running code."""

from harden.watermarking.readers.names import oriented, parse_names, read_names, renamed
from harden.watermarking.readers.stored import read

__all__ = ["oriented", "parse_names", "read", "read_names", "renamed"]
