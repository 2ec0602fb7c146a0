"""After-action reviews: what a round planned, what happened, why, and what follows, from what a store holds of it.

told                    a round as it is told by a store: the only input
findings, identifiers   rules that say what went well and what did not; AISVS and ATLAS
review                  the review as a value
charts, render          drawings; HTML, Markdown and JSON
shown                   how values show themselves in a notebook
"""

from harden.reviewing.findings import Action, Finding
from harden.reviewing.render import FILES, digests, html, markdown, rendered, twin
from harden.reviewing.review import Review, review
from harden.reviewing.told import Told

__all__ = [
    "FILES",
    "Action",
    "Finding",
    "Review",
    "Told",
    "digests",
    "html",
    "markdown",
    "rendered",
    "review",
    "twin",
]
