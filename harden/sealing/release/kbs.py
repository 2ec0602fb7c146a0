"""A client of Trustee's key broker service: auth, challenge, attest, resource; over HTTPS, standard library only.

Protocol: confidential-containers/trustee, kbs/docs/kbs_attestation_protocol.md (read at 011be12); what evidence is
bound to: guest-components, kbs_protocol/src/client/rcar_client.rs (read at 0569f9b). Version 0.4.0, composite
evidence. Every call makes a session and a key of its own. Not run against a live Trustee server.
"""

import hashlib
import http.client
import json
import ssl
import time
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

from harden.sealing.canonical import is_plain
from harden.sealing.errors import Refused
from harden.sealing.release.jwe import ReaderKey
from harden.sealing.release.places import check_address, check_resource

VERSION = "0.4.0"
PREFIX = "/kbs/v0"
COOKIE = "kbs-session-id"
HASHES = ("sha256", "sha384", "sha512")
DEFAULT_HASH = "sha384"
LONGEST = 1 << 20
"""Bytes of an answer."""


class TeeAttestor(Protocol):
    """What makes evidence in the form that Trustee wants for one kind of machine."""

    @property
    def tee(self) -> str:
        """Trustee's word for the kind: tdx, snp, .. or sample."""

    @property
    def protection(self) -> str:
        """What protects this machine's memory, in words."""

    def evidence(self, report_data: bytes) -> Any:
        """Evidence, as JSON holds it, over the digest of the runtime data. Refused where there is none to be had."""


@dataclass(frozen=True)
class KeyBroker:
    """The service at a URL. `timeout`: seconds of each wait, and of a body. `tls` None: whom the system trusts."""

    url: str
    attestor: TeeAttestor = field(repr=False)
    timeout: float = 10.0
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_address(self.url)

    def fetch(self, resource: str) -> bytes:
        """The secret called `repository/type/tag`, after a fresh attestation. Raises ConfigError, Refused."""
        check_resource(resource)
        with closing(self._connection()) as connection:
            session = _Session(connection, self.url, time.monotonic, self.timeout)
            nonce, algorithm = self._challenge(session)
            key = ReaderKey()
            session.call("POST", "/attest", self._attestation(key, nonce, algorithm))
            answer = session.call("GET", f"/resource/{resource}")
        found = key.open(answer)
        if found is None:
            raise Refused(f"{self.url}: the answer is not a secret for this session's key")
        return found

    def _connection(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        if parts.scheme == "http":
            return http.client.HTTPConnection(host, parts.port, timeout=self.timeout)
        context = self.tls or ssl.create_default_context()
        return http.client.HTTPSConnection(host, parts.port, timeout=self.timeout, context=context)

    def _challenge(self, session: "_Session") -> tuple[str, str]:
        """The nonce, and the hash for runtime data."""
        offer = {"supported-hash-algorithms": list(HASHES)}
        answer = session.call("POST", "/auth", {"version": VERSION, "tee": self.attestor.tee, "extra-params": offer})
        nonce, extra = answer.get("nonce"), answer.get("extra-params")
        chosen = extra.get("selected-hash-algorithm", DEFAULT_HASH) if isinstance(extra, dict) else DEFAULT_HASH
        algorithm = chosen.lower() if isinstance(chosen, str) else ""
        if not isinstance(nonce, str) or not nonce or not is_plain(nonce) or algorithm not in HASHES:
            raise Refused(f"{self.url}: the challenge has no usable nonce, or asks for an unknown hash")
        return nonce, algorithm

    def _attestation(self, key: ReaderKey, nonce: str, algorithm: str) -> dict[str, Any]:
        runtime = {"nonce": nonce, "tee-pubkey": key.public()}
        evidence = self.attestor.evidence(runtime_digest(runtime, algorithm))
        return {"runtime-data": runtime, "tee-evidence": {"primary_evidence": evidence, "additional_evidence": ""}}


class _Session:
    """One connection, one cookie. Answers are JSON objects of at most LONGEST bytes, whole within the timeout."""

    def __init__(self, connection: http.client.HTTPConnection, url: str, clock: Any, timeout: float) -> None:
        self._connection, self._url, self._clock, self._timeout = connection, url, clock, timeout
        self._base = urlsplit(url).path.rstrip("/") + PREFIX
        self._cookie = ""

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The answer of a step. Refused for a status other than 200, no answer in time, an answer that is none."""
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if self._cookie:
            headers["Cookie"] = self._cookie
        try:
            data = None if body is None else json.dumps(body)
            self._connection.request(method, self._base + path, data, headers)
            with self._connection.getresponse() as response:
                text = self._whole(response)
        except TimeoutError as error:
            raise Refused(f"{self._url}: no answer to {path} within {self._timeout:g} s") from error
        except (OSError, http.client.HTTPException) as error:
            raise Refused(
                f"{self._url}: {path} failed: {type(error).__name__}", "is it running, and trusted?"
            ) from error
        if response.status != 200:
            raise Refused(f"{self._url} said no to {path}: {response.status}", _reason(text))
        self._remember(response.headers.get_all("Set-Cookie") or [])
        return self._object(text, path)

    def _whole(self, response: http.client.HTTPResponse) -> bytes:
        """The body, also of a server that sends a byte now and then."""
        text, until = bytearray(), self._clock() + self._timeout
        while part := response.read1(65_536):
            text += part
            if self._clock() > until:
                raise TimeoutError("too slow")
            if len(text) > LONGEST:
                raise Refused(f"{self._url}: an answer has more than {LONGEST} bytes")
        return bytes(text)

    def _remember(self, cookies: list[str]) -> None:
        for cookie in cookies:
            pair = cookie.partition(";")[0].strip()
            if pair.startswith(f"{COOKIE}=") and is_plain(pair):
                self._cookie = pair

    def _object(self, text: bytes, path: str) -> dict[str, Any]:
        try:
            answer = json.loads(text)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise Refused(f"{self._url}: the answer to {path} is not a JSON object")
        return answer


def runtime_digest(runtime: dict[str, Any], algorithm: str) -> bytes:
    """What evidence is bound to: the digest of the runtime data, no further devices, in canonical JSON (RFC 8785)."""
    whole = {**runtime, "additional-evidence": ""}
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.new(algorithm, text.encode()).digest()


def _reason(text: bytes) -> str:
    """What the broker says, as one printable line."""
    words = "".join(c if c.isprintable() else " " for c in text[:300].decode("utf-8", "replace"))
    return " ".join(words.split())
