"""ASCII armor: an age file as strict PEM (C2SP age.md, "ASCII armor"; RFC 7468, figure 3), for reading only.

Strict, since everything that a reader forgives can be changed unnoticed: every line but the last holds 64 characters,
base64 has one spelling, and nothing but white space stands around the block. Lines may end with CR LF.
"""

from typing import BinaryIO

from harden.sealing.age.encoding import from_padded
from harden.sealing.age.faults import AGAIN, BadArmor
from harden.sealing.age.header import MAGIC
from harden.sealing.age.intake import Intake, pouring

BEGIN = b"-----BEGIN AGE ENCRYPTED FILE-----"
END = b"-----END AGE ENCRYPTED FILE-----"
_BLANK = b" \t\r\n"
LOOK = 1024
"""So many bytes decide whether a file is armored; as much white space may stand before and after."""

_WIDTH, _LINE_BYTES = 64, 48


def unarmored(source: BinaryIO) -> Intake:
    """The binary age file in `source`, which may be armored. Damaged armor raises BadArmor when it is reached."""
    intake = Intake(pouring(source))
    return Intake(_Armor(intake).pour) if is_armored(intake.peek(LOOK)) else intake


def is_armored(start: bytes) -> bool:
    """Whether a file that begins with `start` is read as armored; `start` are its first `LOOK` bytes."""
    return not start.startswith(MAGIC) and (start.lstrip(_BLANK).startswith(b"-----") or BEGIN in start)


class _Armor:
    """Decodes line by line, about 12 MB/s: armor is for mail, not for gigabytes."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._number = 0
        self._decoded = b""
        self._started = self._short = self._ended = False

    def pour(self, view: memoryview) -> int:
        if not self._started:
            self._begin()
        if not self._decoded and not self._ended:
            self._decoded = self._next()
        count = min(len(view), len(self._decoded))
        view[:count] = self._decoded[:count]
        self._decoded = self._decoded[count:]
        return count

    def _begin(self) -> None:
        blank = self._intake.peek(LOOK)
        self._intake.take(len(blank) - len(blank.lstrip(_BLANK)))
        if self._line() != BEGIN:
            raise self._fault(f"wanted {BEGIN.decode()} and nothing before it")
        self._started = True

    def _next(self) -> bytes:
        """What the next line holds; nothing at the end, behind which only white space is left."""
        line = self._line()
        if line == END:
            self._end()
            return b""
        if self._short or not 0 < len(line) <= _WIDTH:
            raise self._fault("wanted 64 characters in every line but the last" if line else "empty or missing")
        try:
            data = from_padded(line)
        except ValueError as error:
            raise self._fault("it is not canonical base64") from error
        self._short = len(data) < _LINE_BYTES
        return data

    def _end(self) -> None:
        rest = self._intake.take(LOOK + 1)
        if rest.strip(_BLANK) or len(rest) > LOOK:
            raise BadArmor("the armor is followed by other data", "remove what stands behind the END line")
        self._ended = True

    def _line(self) -> bytes:
        self._number += 1
        return self._intake.line(2 * _WIDTH).removesuffix(b"\n").removesuffix(b"\r")

    def _fault(self, what: str) -> BadArmor:
        return BadArmor(f"line {self._number} of the armor: {what}", AGAIN)
