"""Bech32, which spells keys for people (BIP 173), without its limit of 90 characters, as age wants it.

The checksum finds typing errors; it is no protection against an attacker.
"""

from collections.abc import Iterable

ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_VALUES = {character: value for value, character in enumerate(ALPHABET)}
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_CHECKSUM = 6


def encode(prefix: str, data: bytes) -> str:
    """`data` as text that begins with `prefix` and `1`; lower case where the prefix is, upper case where it is."""
    low = prefix.lower()
    values = _regroup(data, 8, 5, pad=True)
    rest = _polymod([*_expand(low), *values, *[0] * _CHECKSUM]) ^ 1
    values += [rest >> 5 * (_CHECKSUM - 1 - place) & 31 for place in range(_CHECKSUM)]
    text = f"{low}1{''.join(ALPHABET[value] for value in values)}"
    return text if prefix == low else text.upper()


def decode(text: str) -> tuple[str, bytes]:
    """Prefix, in the case of the text, and data. Raises ValueError, which never quotes the text: it may be secret."""
    if not all("!" <= character <= "~" for character in text):  # before lower(), which makes k of the Kelvin sign
        raise ValueError("it holds a space or a character that is not ASCII")
    if text not in (text.lower(), text.upper()):
        raise ValueError("upper and lower case are mixed")
    prefix, _, tail = text.rpartition("1")
    if not prefix or len(tail) < _CHECKSUM:
        raise ValueError("it is cut short")
    values = [_VALUES.get(character, -1) for character in tail.lower()]
    if min(values) < 0:
        raise ValueError(f"character {len(prefix) + 2 + values.index(-1)} cannot stand there")
    if _polymod([*_expand(prefix.lower()), *values]) != 1:
        raise ValueError("its checksum does not agree")
    return prefix, bytes(_regroup(values[:-_CHECKSUM], 5, 8, pad=False))


def _expand(prefix: str) -> list[int]:
    codes = prefix.encode("ascii")
    return [*(code >> 5 for code in codes), 0, *(code & 31 for code in codes)]


def _polymod(values: Iterable[int]) -> int:
    state = 1
    for value in values:
        top, state = state >> 25, (state & 0x1FFFFFF) << 5 ^ value
        for place, generator in enumerate(_GENERATOR):
            state ^= generator if top >> place & 1 else 0
    return state


def _regroup(values: Iterable[int], given: int, wanted: int, *, pad: bool) -> list[int]:
    """The same bits in groups of another width. What is left over must be less than a group, and zero."""
    groups, held, bits = [], 0, 0
    for value in values:
        held, bits = held << given | value, bits + given
        while bits >= wanted:
            bits -= wanted
            groups.append(held >> bits)
            held &= (1 << bits) - 1
    if pad and bits:
        groups.append(held << wanted - bits)
    elif bits >= given or held:
        raise ValueError("bits are left over at its end")
    return groups
