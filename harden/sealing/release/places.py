"""Where keepers are, as people write it, checked without any library: a request can be refused before it is kept.

A token is named by a URI of RFC 7512: `pkcs11:token=T;object=K?module-path=/usr/lib/softhsm/libsofthsm2.so`. It
never holds a PIN. A key broker has an address, and calls its secrets repository/type/tag.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from harden.errors import ConfigError

PATH, QUERY = {"token", "object"}, {"module-path"}
LOCAL = {"127.0.0.1", "::1", "localhost"}
RESOURCE = re.compile(r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+/[A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Place:
    """Where a key is: the library that speaks to the token, the label of the token, the label of the key."""

    module: Path
    token: str
    key: str


def place_of(uri: str) -> Place:
    """The place that a URI names. ConfigError for any other attribute, for a PIN above all."""
    scheme, _, rest = uri.partition(":")
    path, _, query = rest.partition("?")
    found = _attributes(path, ";") | _attributes(query, "&")
    if pins := [name for name in found if name.startswith("pin-")]:
        raise ConfigError(f"a token's URI must not hold {pins[0]}", "the PIN is asked for, or read from passphrase_fd")
    if scheme != "pkcs11" or found.keys() != PATH | QUERY or not all(found.values()):
        raise ConfigError(
            f"a token is named by its token, object and module-path, got {', '.join(found) or 'none of them'}",
            "as in 'pkcs11:token=T;object=K?module-path=/usr/lib/softhsm/libsofthsm2.so'",
        )
    return Place(Path(found["module-path"]), found["token"], found["object"])


def check_address(url: str) -> None:
    """Nothing for an https:// address without a user, or an http:// one on this machine; else ConfigError."""
    try:
        parts = urlsplit(url)
        host, hidden = parts.hostname, bool(parts.username or parts.password or parts.query)
        _ = parts.port
    except ValueError:
        raise ConfigError(f"a key broker is at an https:// address, got {url}") from None
    if hidden:
        raise ConfigError(
            "the https:// address of a key broker must hold no user, password or query", "as in https://HOST:PORT"
        )
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and host in LOCAL)):
        raise ConfigError(f"a key broker is at an https:// address, got {url}", "http only on this machine")


def check_resource(resource: str) -> None:
    """Nothing for `repository/type/tag`, else ConfigError."""
    if not RESOURCE.fullmatch(resource) or {".", ".."} & set(resource.split("/")):
        raise ConfigError(f"a resource is called repository/type/tag, got {resource}")


def _attributes(text: str, separator: str) -> dict[str, str]:
    """Name to value, percent-decoded. ConfigError for a name that comes twice."""
    pairs = [part.partition("=") for part in text.split(separator) if part]
    found = {name: unquote(value) for name, _, value in pairs}
    if len(found) != len(pairs):
        raise ConfigError("a token's URI names an attribute twice")
    return found
