"""The header of an age file: one stanza for each recipient, and a MAC over all (C2SP age.md, "Header").

Everything here is read before any key was used, so it is capped, and it has exactly one spelling.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from harden.sealing.age.encoding import from_unpadded, unpadded
from harden.sealing.age.faults import AGAIN, BadHeader, BadMac, NotAge
from harden.sealing.age.intake import Intake

MAGIC = b"age-encryption.org/"
V1_LINE = MAGIC + b"v1\n"
KEY_BYTES = 16

MOST_STANZAS = 1024
MOST_BYTES = 2 << 20
"""A header of 1024 post-quantum stanzas has 1.6 MB; trying one key on all of them takes a quarter of a second."""

_MAC_MARK, _STANZA_MARK = b"---", b"-> "
_WIDTH = 64


@dataclass(frozen=True)
class Stanza:
    """The file key, wrapped for one recipient: a type, its further arguments, and the wrapped key."""

    arguments: tuple[bytes, ...]
    body: bytes

    @property
    def kind(self) -> bytes:
        """What sort of recipient this is for, such as X25519."""
        return self.arguments[0]

    def render(self) -> bytes:
        """The stanza's lines. The last is shorter than 64 characters, and empty rather than full."""
        text = unpadded(self.body)
        lines = [text[at : at + _WIDTH] for at in range(0, len(text) + 1, _WIDTH)]
        return _STANZA_MARK + b" ".join(self.arguments) + b"\n" + b"".join(line + b"\n" for line in lines)


@dataclass(frozen=True)
class Header:
    """The stanzas, the MAC that was found, the bytes that it is over, and how many bytes the header has in all."""

    stanzas: tuple[Stanza, ...]
    covered: bytes
    mac: bytes
    size: int

    def verify(self, file_key: bytes) -> None:
        """Raises BadMac where the header was not made with `file_key`."""
        try:
            _hmac(file_key, self.covered).verify(self.mac)
        except InvalidSignature as error:
            raise BadMac("header: changed after it was made, its MAC does not agree", AGAIN) from error


def render(stanzas: Sequence[Stanza], file_key: bytes) -> bytes:
    """The header that wraps `file_key` in `stanzas`."""
    covered = V1_LINE + b"".join(stanza.render() for stanza in stanzas) + _MAC_MARK
    return covered + b" " + unpadded(_hmac(file_key, covered).finalize()) + b"\n"


def parse(intake: Intake) -> Header:
    """The header at the start of `intake`, which stands behind it then. Raises NotAge and BadHeader."""
    lines = _Lines(intake)
    _expect_v1(lines.next())
    stanzas: list[Stanza] = []
    while not (line := lines.next()).startswith(_MAC_MARK):
        stanzas.append(_stanza(line, lines))
        if len(stanzas) > MOST_STANZAS:
            raise BadHeader(f"header: more than {MOST_STANZAS} stanzas", "files for so many recipients are not read")
    if not stanzas:
        raise BadHeader("header: no stanza", AGAIN)
    if len(stanzas) > 1 and any(stanza.kind == b"scrypt" for stanza in stanzas):
        raise BadHeader("header: a passphrase beside other recipients, which age forbids", AGAIN)
    covered = bytes(lines.raw[: len(lines.raw) - len(line) + len(_MAC_MARK)])
    return Header(tuple(stanzas), covered, _mac(line), len(lines.raw))


class _Lines:
    """The lines of the header, none of them too long, and all their bytes so far."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self.raw = bytearray()

    def next(self) -> bytes:
        line = self._intake.line(MOST_BYTES - len(self.raw))
        self.raw += line
        return line


def _expect_v1(line: bytes) -> None:
    if line == V1_LINE:
        return
    if line.startswith(MAGIC) and line.endswith(b"\n") and not line.endswith(b"\r\n"):
        raise NotAge("an age file of a version that is not known here, wanted v1", "open it with a newer age")
    if line and (line.startswith(MAGIC) or V1_LINE.startswith(line)):
        raise BadHeader("header: its first line is damaged or cut short", AGAIN)
    raise NotAge("not an age file" if line else "an empty file, not an age file")


def _stanza(line: bytes, lines: _Lines) -> Stanza:
    arguments = tuple(line.removeprefix(_STANZA_MARK).removesuffix(b"\n").split(b" "))
    if not (line.startswith(_STANZA_MARK) and line.endswith(b"\n") and all(map(_is_visible, arguments))):
        raise BadHeader("header: damaged or cut short where a stanza or the MAC should begin", AGAIN)
    body = bytearray()
    while len(text := _text(lines.next())) == _WIDTH:
        body += text
    if len(text) > _WIDTH:
        raise BadHeader("header: a line of a stanza has more than 64 characters", AGAIN)
    return Stanza(arguments, _decoded(bytes(body + text)))


def _is_visible(argument: bytes) -> bool:
    return bool(argument) and all(0x21 <= code <= 0x7E for code in argument)


def _text(line: bytes) -> bytes:
    if not line.endswith(b"\n"):
        raise BadHeader("header: cut short inside a stanza, or too long", AGAIN)
    return line[:-1]


def _mac(line: bytes) -> bytes:
    if not (line.startswith(_MAC_MARK + b" ") and line.endswith(b"\n")):
        raise BadHeader("header: its last line is damaged or cut short", AGAIN)
    mac = _decoded(line[4:-1])
    if len(mac) != 32:
        raise BadHeader(f"header: its MAC has {len(mac)} bytes, wanted 32", AGAIN)
    return mac


def _decoded(text: bytes) -> bytes:
    try:
        return from_unpadded(text)
    except ValueError as error:
        raise BadHeader("header: a value is not canonical base64", AGAIN) from error


def _hmac(file_key: bytes, covered: bytes) -> HMAC:
    key = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=b"header").derive(file_key)
    mac = HMAC(key, hashes.SHA256())
    mac.update(covered)
    return mac
