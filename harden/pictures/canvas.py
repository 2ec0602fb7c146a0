"""What all pictures share: style, text that is safe to draw, and files that depend on the values only.

Colours after Okabe and Ito (2008), which people with any common colour blindness can tell apart; line styles
and words repeat what colours say.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from harden.errors import ConfigError
from harden.files import write_bytes

BLUE, ORANGE, GREY, INK = "#0072B2", "#D55E00", "#8A8A8A", "#222222"
DPI = 150
METADATA: dict[str, dict[str, Any]] = {  # neither date nor version, which would make equal pictures differ
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
}
STYLE: Any = {
    "svg.hashsalt": "harden",  # ids inside an SVG are random without it
    "svg.fonttype": "none",
    "text.parse_math": False,  # a class may be called "$"
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "font.size": 9.5,
}


@contextmanager
def canvas(path: Path, *, title: str, size: tuple[float, float]) -> Iterator[Figure]:
    """A white figure of `size` inches with its title, written to `path`, whole or not at all, at the end.

    No pyplot, and the user's own matplotlib settings do not count. Raises ConfigError for other suffixes than
    `METADATA` has.
    """
    form = path.suffix.lower().removeprefix(".")
    if form not in METADATA:
        raise ConfigError(f"{path}: got picture format '{path.suffix}', wanted .svg or .png", "rename the file")
    buffer = io.BytesIO()
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)  # names come in any script
        figure = Figure(figsize=size, layout="constrained")
        figure.suptitle(printable(title), x=0.01, ha="left", fontsize=11.5, fontweight="bold", color=INK)
        yield figure
        figure.savefig(buffer, format=form, dpi=DPI, metadata=METADATA[form])
    write_bytes(path, buffer.getvalue())


def printable(text: str, longest: int = 110) -> str:
    """`text` in one line of at most `longest` characters, without those that XML forbids."""
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    return line if len(line) <= longest else line[: longest - 1] + "…"
