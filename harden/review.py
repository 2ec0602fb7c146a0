"""Write an after-action review: `python -m harden.review rounds=[2026Q3,2026Q4]`.

From what the tracking store holds, not from memory of the run: HTML, Markdown and JSON, signed. Nothing is trained
or measured; a file of the store that is not what its round wrote is told.
"""

from typing import NoReturn

from harden import door
from harden.reviewer import reviewed
from harden.reviewing.request import ReviewRequest
from harden.tables import review_sheet


def main() -> NoReturn:
    """Runs the command line."""
    door.run("review", ReviewRequest, work)


def work(request: ReviewRequest, _overrides: list[str]) -> int:
    """One review; 0."""
    made, folder = reviewed(request)
    review_sheet(made, folder)
    return 0


if __name__ == "__main__":
    main()
