"""Base64 with one spelling a value (RFC 4648, section 3.5): what decodes also encodes back to the same text.

Without that, a file could be changed in bits that no tag covers.
"""

import base64


def unpadded(data: bytes) -> bytes:
    """`data` in base64 without `=`, as everywhere in an age header."""
    return base64.b64encode(data).rstrip(b"=")


def from_unpadded(text: bytes) -> bytes:
    """The data that `unpadded` spells like this. Raises ValueError for any other spelling."""
    data = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    if unpadded(data) != text:
        raise ValueError("not canonical base64")
    return data


def from_padded(text: bytes) -> bytes:
    """The data that ordinary base64, with `=`, spells like this. Raises ValueError for any other spelling."""
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data) != text:
        raise ValueError("not canonical base64")
    return data
