"""An evaluation as one HTML file that needs nothing else: no network, no script, no other file."""

from harden.reporting.images import Example
from harden.reporting.report import render

__all__ = ["Example", "render"]
