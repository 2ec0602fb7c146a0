"""Trustee's key broker protocol against a small server on this machine that speaks it, well and badly."""

import base64
import hashlib
import json
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import aes_key_wrap

from harden.errors import ConfigError
from harden.sealing import keyfiles, provider, seal_bytes, unseal_bytes
from harden.sealing.core import Facts
from harden.sealing.derive import wrap_info
from harden.sealing.errors import Refused
from harden.sealing.identity import KeyRecipient
from harden.sealing.release.attested import ReleaseRecipient
from harden.sealing.release.jwe import ReaderKey, decode, encode
from harden.sealing.release.kbs import KeyBroker, runtime_digest
from harden.sealing.release.split import SplitIdentity, SplitRecipient
from harden.sealing.release.trustee import BLOB, ResourceIdentity, ResourceWrapper, SampleAttestor, policy_of
from harden.sealing.slots import PUBLIC_KEY, RELEASE
from harden.sealing.suites import HYBRID

BY = provider()
NAME, SECRET, H = "default/harden/weights", bytes(range(32)), bytes(range(64))
Answer = tuple[int, bytes, dict[str, str]]


def url64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def jwe_to(public: dict[str, str], secret: bytes, *, aad: str | None = None, **header: Any) -> dict[str, Any]:
    """RFC 7516 and 7518, written down a second time, from the side of the sender."""
    sender = ec.generate_private_key(ec.SECP256R1())
    x, y = (int.from_bytes(base64.urlsafe_b64decode(public[n] + "=="), "big") for n in "xy")
    agreed = sender.exchange(ec.ECDH(), ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key())
    name = b"ECDH-ES+A256KW"
    info = struct.pack(">I", len(name)) + name + struct.pack(">III", 0, 0, 256)
    wrapping = hashlib.sha256(struct.pack(">I", 1) + agreed + info).digest()
    own = sender.public_key().public_numbers()
    point = {"crv": "P-256", "kty": "EC", "x": url64(own.x.to_bytes(32, "big")), "y": url64(own.y.to_bytes(32, "big"))}
    words = {"alg": "ECDH-ES+A256KW", "enc": "A256GCM", "epk": point} | header
    protected, key, iv = url64(json.dumps(words).encode()), os.urandom(32), os.urandom(12)
    bound = protected if aad is None else f"{protected}.{aad}"
    whole = AESGCM(key).encrypt(iv, secret, bound.encode())
    found: dict[str, Any] = {
        "protected": protected,
        "encrypted_key": url64(aes_key_wrap(wrapping, key)),
        "iv": url64(iv),
    }
    return found | {"ciphertext": url64(whole[:-16]), "tag": url64(whole[-16:])} | ({"aad": aad} if aad else {})


@dataclass
class Kbs:
    """The protocol's other side. `instead`: path -> an answer in place of the right one."""

    secrets: dict[str, bytes] = field(default_factory=lambda: {NAME: SECRET})
    instead: dict[str, Callable[[], Answer]] = field(default_factory=dict)
    algorithm: str = "sha384"
    seen: list[tuple[str, str]] = field(default_factory=list)
    sessions: dict[str, dict[str, Any]] = field(default_factory=dict)
    url: str = ""

    def answer(self, method: str, path: str, cookie: str, body: bytes) -> Answer:
        self.seen.append((method, path))
        step = path.removeprefix("/kbs/v0")
        if step in self.instead:
            return self.instead[step]()
        if (method, step) == ("POST", "/auth"):
            return self.auth(json.loads(body))
        session = self.sessions.get(cookie)
        if session is None:
            return self.no(401, "no session")
        if (method, step) == ("POST", "/attest"):
            return self.attest(session, json.loads(body))
        return self.resource(session, step.removeprefix("/resource/"))

    def auth(self, request: dict[str, Any]) -> Answer:
        if request["version"] != "0.4.0" or self.algorithm not in request["extra-params"]["supported-hash-algorithms"]:
            return self.no(401, "version")
        name, nonce = os.urandom(8).hex(), base64.b64encode(os.urandom(32)).decode()
        self.sessions[f"kbs-session-id={name}"] = {"nonce": nonce, "tee": request["tee"]}
        challenge = {"nonce": nonce, "extra-params": {"selected-hash-algorithm": self.algorithm}}
        return 200, json.dumps(challenge).encode(), {"Set-Cookie": f"kbs-session-id={name}; Path=/; HttpOnly"}

    def attest(self, session: dict[str, Any], sent: dict[str, Any]) -> Answer:
        runtime, evidence = sent["runtime-data"], sent["tee-evidence"]
        point = runtime["tee-pubkey"]
        inner = ",".join(f'"{name}":"{point[name]}"' for name in ("alg", "crv", "kty", "x", "y"))
        text = f'{{"additional-evidence":"","nonce":"{runtime["nonce"]}","tee-pubkey":{{{inner}}}}}'
        digest = hashlib.new(self.algorithm, text.encode()).digest()
        report = base64.b64decode(evidence["primary_evidence"]["report_data"])
        if runtime["nonce"] != session["nonce"] or report != digest or evidence["additional_evidence"] != "":
            return self.no(401, "attestation failed")
        session["key"] = point
        return 200, json.dumps({"token": "a.b.c"}).encode(), {}

    def resource(self, session: dict[str, Any], name: str) -> Answer:
        if "key" not in session:
            return self.no(401, "not attested")
        if name not in self.secrets:
            return self.no(404, "no such resource")
        return 200, json.dumps(jwe_to(session["key"], self.secrets[name])).encode(), {}

    @staticmethod
    def no(status: int, why: str) -> Answer:
        return status, json.dumps({"type": "kbs/error", "detail": why}).encode(), {}


@contextmanager
def serving(kbs: Kbs) -> Iterator[Kbs]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, text, headers = kbs.answer(self.command, self.path, self.headers.get("Cookie", ""), body)
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(text))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *words: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that went away is what these tests are about."""

    server = Server(("127.0.0.1", 0), Handler)
    kbs.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield kbs
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def kbs() -> Iterator[Kbs]:
    with serving(Kbs()) as found:
        yield found


def broker(kbs: Kbs, timeout: float = 5.0) -> KeyBroker:
    return KeyBroker(kbs.url, SampleAttestor(), timeout)


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_a_secret_is_fetched_in_the_steps_of_the_protocol(kbs: Kbs, algorithm: str) -> None:
    kbs.algorithm = algorithm
    assert broker(kbs).fetch(NAME) == SECRET
    steps = [("POST", "/kbs/v0/auth"), ("POST", "/kbs/v0/attest"), ("GET", f"/kbs/v0/resource/{NAME}")]
    assert kbs.seen == steps


def test_every_fetch_attests_anew_with_another_key(kbs: Kbs) -> None:
    client = broker(kbs)
    assert client.fetch(NAME) == client.fetch(NAME)
    assert len(kbs.sessions) == 2
    assert len({session["key"]["x"] for session in kbs.sessions.values()}) == 2


def test_sample_evidence_says_no_hardware_protection(kbs: Kbs, caplog: pytest.LogCaptureFixture) -> None:
    broker(kbs).fetch(NAME)
    assert SampleAttestor().protection == "no hardware protection"
    assert [record.message for record in caplog.records] == ["attesting as Trustee's sample: no hardware protection"]


@pytest.mark.parametrize(
    ("step", "status"), [("/auth", 401), ("/attest", 401), (f"/resource/{NAME}", 403), (f"/resource/{NAME}", 404)]
)
def test_a_no_at_any_step_is_a_refusal_with_the_brokers_reason(kbs: Kbs, step: str, status: int) -> None:
    kbs.instead[step] = lambda: Kbs.no(status, "policy\x1b[31m says\nno")
    with pytest.raises(Refused, match=f"said no to {step}: {status}") as said:
        broker(kbs).fetch(NAME)
    assert "policy" in said.value.hint
    assert said.value.hint.isprintable()


class Liar(SampleAttestor):
    """Evidence about something else."""

    def evidence(self, report_data: bytes) -> dict[str, str]:
        return super().evidence(bytes(len(report_data)))


def test_evidence_that_is_not_over_the_runtime_data_is_refused(kbs: Kbs) -> None:
    with pytest.raises(Refused, match="said no to /attest: 401"):
        KeyBroker(kbs.url, Liar()).fetch(NAME)


BAD = [b"", b"[]", b"null", b"{", b"\xff", b"[" * 100_000, b'{"nonce":1}', b'{"nonce":""}', b'{"nonce":"\\u0000"}']
BAD_CHALLENGES = [*BAD, b'{"nonce":"n","extra-params":{"selected-hash-algorithm":"md5"}}', b"{}"]


@pytest.mark.parametrize("body", BAD_CHALLENGES, ids=range(len(BAD_CHALLENGES)))
def test_a_malformed_challenge_is_refused(kbs: Kbs, body: bytes) -> None:
    kbs.instead["/auth"] = lambda: (200, body, {})
    with pytest.raises(Refused):
        broker(kbs).fetch(NAME)
    assert kbs.seen == [("POST", "/kbs/v0/auth")]


def test_no_malformed_secret_is_taken(kbs: Kbs) -> None:
    """Every field left out, emptied, changed, made a number; another key; other algorithms; not an object."""
    own = ReaderKey().public()
    good = jwe_to(own, SECRET)
    wrong: list[object] = [good, None, [], 1, {}, jwe_to(own, SECRET, alg="dir"), jwe_to(own, SECRET, enc="A128GCM")]
    for name, value in good.items():
        wrong += [{k: v for k, v in good.items() if k != name}, good | {name: ""}, good | {name: 1}]
        wrong += [good | {name: value[:-2]}, good | {name: "*" + value[1:]}]
    for body in wrong:
        text = json.dumps(body).encode()
        kbs.instead[f"/resource/{NAME}"] = lambda text=text: (200, text, {})  # type: ignore[misc]
        with pytest.raises(Refused, match=r"not a secret for this session's key|not a JSON object"):
            broker(kbs).fetch(NAME)


def test_a_jwe_of_a_second_implementation_opens_and_each_change_does_not() -> None:
    key = ReaderKey()
    for aad in (None, "YWFk"):
        good = jwe_to(key.public(), SECRET, aad=aad)
        assert key.open(good) == SECRET
        for name, text in good.items():
            for at in range(0, len(text) - 1, 3):
                changed = text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]
                assert key.open(good | {name: changed}) is None
    extra = jwe_to(key.public(), SECRET, zip="DEF")
    assert key.open(extra) is None
    assert key.open(jwe_to(key.public(), SECRET, epk={"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"})) is None
    off = {"kty": "EC", "crv": "P-256", "x": url64(bytes(32)), "y": url64(bytes(32))}
    assert key.open(jwe_to(key.public(), SECRET, epk=off)) is None


def test_base64url_has_one_spelling() -> None:
    assert decode(encode(b"\xff\xfe\xfd\xfc")) == b"\xff\xfe\xfd\xfc"
    for text in ("AB", "A", "AA==", "A+A/", "AA\n", "A A", "é"):
        with pytest.raises(ValueError):
            decode(text)


def test_a_broker_that_does_not_answer_is_given_up_in_time(kbs: Kbs) -> None:
    def slow() -> Answer:
        time.sleep(0.6)
        return Kbs.no(500, "late")

    kbs.instead["/attest"] = slow
    began = time.monotonic()
    with pytest.raises(Refused, match=r"no answer to /attest within 0.2 s"):
        broker(kbs, 0.2).fetch(NAME)
    assert time.monotonic() - began < 0.55


def test_an_answer_cut_short_or_too_long_is_refused(kbs: Kbs) -> None:
    kbs.instead["/auth"] = lambda: (200, b'{"nonce"', {"Content-Length": "100000"})
    with pytest.raises(Refused):
        broker(kbs, 0.3).fetch(NAME)
    kbs.instead["/auth"] = lambda: (200, b" " * ((1 << 20) + 70_000), {})
    with pytest.raises(Refused, match="more than 1048576 bytes"):
        broker(kbs).fetch(NAME)


def test_a_redirection_is_not_followed(kbs: Kbs) -> None:
    kbs.instead["/auth"] = lambda: (307, b"{}", {"Location": "http://127.0.0.1:1/"})
    with pytest.raises(Refused, match="307"):
        broker(kbs).fetch(NAME)
    assert len(kbs.seen) == 1


def test_a_broker_that_is_not_there_is_a_refusal() -> None:
    with serving(Kbs()) as gone:
        url = gone.url
    with pytest.raises(Refused, match="/auth failed: ConnectionRefusedError"):
        KeyBroker(url, SampleAttestor()).fetch(NAME)


def test_plain_http_is_for_this_machine_only() -> None:
    for url in (
        "http://kbs.example",
        "ftp://127.0.0.1",
        "kbs",
        "https://",
        "https://u:p@kbs.example",
        "https://k/?a=b",
    ):
        with pytest.raises(ConfigError, match="https"):
            KeyBroker(url, SampleAttestor())
    KeyBroker("https://kbs.example:8080/base", SampleAttestor())


def test_https_wants_a_certificate_that_the_system_trusts(kbs: Kbs) -> None:
    with pytest.raises(Refused, match="/auth failed: SSL"):
        KeyBroker(kbs.url.replace("http://127.0.0.1", "https://127.0.0.1"), SampleAttestor(), 2.0).fetch(NAME)


@pytest.mark.parametrize("name", ["a/b", "a/b/c/d", "../a/b", "a/../b", "a/b/c?d", "a/b/c\n", "a//c", "a/b/ü", ""])
def test_a_resource_has_three_plain_parts(kbs: Kbs, name: str) -> None:
    with pytest.raises(ConfigError, match="repository/type/tag"):
        broker(kbs).fetch(name)
    assert kbs.seen == []


def test_the_digest_of_runtime_data_is_over_canonical_json() -> None:
    text = b'{"additional-evidence":"","nonce":"n","tee-pubkey":{"alg":"a","kty":"EC"}}'
    runtime = {"nonce": "n", "tee-pubkey": {"kty": "EC", "alg": "a"}}
    assert runtime_digest(runtime, "sha384") == hashlib.sha384(text).digest()


def test_a_file_split_between_key_file_and_broker_opens_with_both(kbs: Kbs, tmp_path: Path) -> None:
    wrapper = ResourceWrapper(broker(kbs), NAME)
    key = keyfiles.generate(keyfiles.RECIPIENT, HYBRID, BY)
    to = SplitRecipient(KeyRecipient(HYBRID, key.public.public, BY), wrapper)
    seal_bytes(b"weights", tmp_path / "w.sealed", to=[to], facts=Facts("m", 1, "", {}))
    identity = SplitIdentity(HYBRID, BY.opener(HYBRID.kem, key.seed), wrapper)
    assert bytes(unseal_bytes(tmp_path / "w.sealed", identity, trust=None)[0]) == b"weights"
    kbs.secrets.clear()
    with pytest.raises(Refused, match="404"):
        unseal_bytes(tmp_path / "w.sealed", identity, trust=None)


def test_the_brokers_share_is_bound_to_its_key_and_to_h(kbs: Kbs) -> None:
    wrapper = ResourceWrapper(broker(kbs), NAME)
    blob = wrapper.wrap(bytes(32), H)
    assert len(blob) == BLOB
    assert wrapper.unwrap(blob, H) == bytes(32)
    assert wrapper.unwrap(blob, bytes(64)) is None
    assert wrapper.unwrap(blob[:-1], H) is None
    kbs.secrets[NAME] = os.urandom(32)
    assert wrapper.unwrap(blob, H) is None
    kbs.secrets[NAME] = bytes(31)
    with pytest.raises(Refused, match="31 bytes, wanted 32"):
        wrapper.unwrap(blob, H)


def test_an_entry_of_type_4_opens_with_the_seed_that_the_broker_releases(kbs: Kbs) -> None:
    seed, info = os.urandom(32), wrap_info(HYBRID, RELEASE, H)
    kbs.secrets[NAME] = seed
    public = BY.public_of_kem(HYBRID.kem, seed)
    blob = ReleaseRecipient(HYBRID, public, policy_of(NAME), BY).wrap(SECRET, info)
    identity = ResourceIdentity(broker(kbs), NAME, BY)
    assert identity.unwrap(RELEASE, blob, info) == SECRET
    asked = len(kbs.seen)
    assert identity.unwrap(PUBLIC_KEY, blob, info) is None
    assert ResourceIdentity(broker(kbs), "a/b/c", BY).unwrap(RELEASE, blob, info) is None
    assert len(kbs.seen) == asked
    assert identity.unwrap(RELEASE, blob, wrap_info(HYBRID, RELEASE, bytes(64))) is None


SEALED = ("sealed=g.sealed", "identity=alice.key", "trust=acme.pub")


@pytest.fixture
def kept(ask: Any, house: Path, kbs: Kbs) -> tuple[Path, str]:
    """A house with a file for alice and the broker, and the words that name the broker."""
    words = f"kbs={kbs.url}", f"resource={NAME}"
    done = ask("seal", "weights=plain", "to=[alice.pub]", "signer=acme.key", "output=g.sealed", *words)
    assert done.code == 0, done.err
    return house, *words  # type: ignore[return-value]


def test_at_the_door_a_file_opens_with_key_file_and_broker_and_with_neither_alone(
    ask: Any, kept: Any, kbs: Kbs, caplog: pytest.LogCaptureFixture
) -> None:
    house, *words = kept
    done = ask("unseal", *SEALED, *words, "output=out")
    assert done.code == 0, done.err
    assert (house / "out").read_bytes() == (house / "plain").read_bytes()
    assert "no hardware protection" in caplog.text
    alone = ask("unseal", *SEALED, "output=o")
    assert (alone.code, "g.sealed: the key does not open it" in alone.error) == (4, True)
    assert ask("unseal", *SEALED[:1], "identity=bob.key", *SEALED[2:], *words, "output=o").code == 4
    kbs.instead[f"/resource/{NAME}"] = lambda: Kbs.no(403, "policy says no")
    no = ask("unseal", *SEALED, *words, "output=o")
    assert (no.code, "said no to /resource/" in no.error, "policy says no" in no.err) == (1, True, True)
    assert not (house / "o").exists()
    assert SECRET.hex() not in no.out + no.err + done.out + done.err


def test_the_broker_is_taken_on_and_off_by_a_rewrap_and_kept_by_a_rotation(ask: Any, kept: Any) -> None:
    _, *words = kept
    rotate = ("action=rotate", "to=[alice.pub]", "signer=acme.key")
    assert ask("seal", *rotate, *SEALED, *words, "output=h.sealed").code == 0
    turned = ("sealed=h.sealed", *SEALED[1:])
    assert ask("unseal", *turned, "output=o").code == 4
    assert ask("seal", "action=rewrap", "to=[alice.pub]", "key_alone=true", *turned, *words).code == 0
    assert ask("unseal", *turned, "output=o1").code == 0
    assert ask("seal", "action=rewrap", "to=[alice.pub]", *turned, *words).code == 0
    assert ask("unseal", *turned, "output=o2").code == 4
    assert ask("verify", *turned, *words).code == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("kbs=https://k",), "kbs and resource belong together"),
        (("resource=a/b/c",), "kbs and resource belong together"),
        (("kbs=https://k", "resource=a"), "a resource is called repository/type/tag, got a"),
        (("kbs=http://k.example", "resource=a/b/c"), "a key broker is at an https:// address, got http://k.example"),
        (("kbs=https://u:canary@k", "resource=a/b/c"), "the https:// address of a key broker must hold no user"),
        (("kbs=https://k:x", "resource=a/b/c"), "a key broker is at an https:// address"),
    ],
)
@pytest.mark.parametrize("verb", ["unseal", "train"])
def test_a_broker_that_is_named_badly_is_refused_before_anything_else(
    verb: str, words: tuple[str, ...], says: str, ask: Any, house: Path
) -> None:
    usual = {"unseal": ("sealed=f.sealed", "output=o"), "train": ("init=f.sealed", "output=run")}[verb]
    done = ask(verb, *usual, "identity=alice.key", "trust=acme.pub", *words)
    assert (done.code, done.error[: len(says)]) == (2, says)
    assert "canary" not in done.out + done.err
    assert not (house / "run").exists()
