"""`harden <verb> key=value ...`, the same as `python -m harden.<verb>`; without a verb, the list of them."""

import difflib
import importlib
import sys
from typing import NoReturn

from harden import __version__

VERBS = {
    "train": "harden a classifier and measure it before and after",
    "evaluate": "measure a weights file under attack",
    "watermark": "mark weights as somebody's, and find the mark again",
    "keygen": "make keys that open sealed files, sign them, or mark weights",
    "seal": "encrypt and sign a file for its recipients",
    "unseal": "open a sealed file",
    "round": "run a quarterly round: plan, train, evaluate, seal, judge, review",
    "review": "write an after-action review of rounds",
    "verify": "check who made a sealed file, and that nothing was changed",
}


def main() -> NoReturn:
    """Hands the command line to the verb's door."""
    verb = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if verb in ("--help", "-h", "help"):
        sys.stdout.write(usage())
        raise SystemExit(0)
    if verb == "--version":
        sys.stdout.write(f"harden {__version__}\n")
        raise SystemExit(0)
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f"did you mean harden {near[0]}?" if near else "harden --help says what they do"
        sys.stderr.write(f"harden: error: there is no verb '{verb}'; there are: {', '.join(VERBS)}\n")
        sys.stderr.write(f"harden: hint: {hint}\n")
        raise SystemExit(2)
    sys.argv = [f"harden {verb}", *sys.argv[2:]]
    importlib.import_module(f"harden.{verb}").main()
    raise AssertionError("a door never returns")


def usage() -> str:
    """The verbs, a line each."""
    lines = [f"  {verb:<10} {text}" for verb, text in VERBS.items()]
    head = "usage: harden <verb> key=value ...    (harden <verb> --help lists the keys)\n\nverbs:\n"
    return head + "\n".join(lines) + "\n\nexample: harden train +attack=pgd\n"


if __name__ == "__main__":
    main()
