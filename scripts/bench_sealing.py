"""Sealing against the primitives it is made of, against `cp` and sync, and against age where it is installed.

    python scripts/bench_sealing.py --folder FOLDER_ON_A_DISK --rounds 9 --json bench.json --picture sealing.svg

All rows of a round run one after the other, every second round from the last to the first, so that a change in the
machine's load meets them alike; ratios are medians of the rounds' own. In memory: 16 KiB chunks, reused buffers.
Files: safetensors of 1 MiB tensors, warm in the page cache; `cp` and what is sealed or unsealed are synced before the
clock stops. CPU seconds are those of all threads, the kernel's work for them included. Peak memory is that of a
process of its own, less what it had before it began.
"""

import argparse
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from harden.environment import environment
from harden.files import write_json
from harden.pictures.canvas import BLUE, GREY, ORANGE, canvas
from harden.sealing import (
    Change,
    Facts,
    layout,
    open_sealed,
    provider,
    rewrap,
    rotate,
    seal_file,
    sealer,
    slots,
    unseal_bytes,
    unseal_file,
    verify,
)
from harden.sealing.core import Core
from harden.sealing.derive import binding, payload_key
from harden.sealing.identity import KeyRecipient, key_identity
from harden.sealing.layout import CHUNK, HEAD, Layout, layout_of
from harden.sealing.leaves import leaves_of, root
from harden.sealing.payload import SALT, Payload, chunk_keys
from harden.sealing.publish import write_all
from harden.sealing.signing import message_of, signer_of
from harden.sealing.suites import HYBRID
from harden.sealing.trust import OneSigner
from harden.sealing.writing import from_memory, write_payload

MIB = 1 << 20
Rows = dict[str, list[float]]
RAW = ("raw AES-256-GCM, encrypt", "raw AES-256-GCM, decrypt")
COPY = "cp + sync"
ALONE, BEHIND = "one tensor of 1 MiB, by itself", "the tensor behind the last one"
GOAL = 1.5
"""Times `cp` and sync, at most: what sealing and unsealing a file may take."""


class House:
    """Keys of a recipient and a signer, from fixed seeds, so that another process has the same."""

    def __init__(self) -> None:
        by = provider()
        public = by.public_of_kem(HYBRID.kem, bytes(32))
        self.recipient, self.identity = KeyRecipient(HYBRID, public, by), key_identity(HYBRID, bytes(32), by)
        self.signer = signer_of(HYBRID, bytes(64), by)
        self.trust = OneSigner(self.signer.key)

    def seal(self, plain: Path, sealed: Path) -> None:
        """Seals and signs."""
        seal_file(plain, sealed, to=[self.recipient], signer=self.signer, facts=Facts("bench"))


def seconds(work: Callable[[], Any]) -> float:
    """How long `work` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def in_memory(rounds: int, size: int = 64 * MIB) -> Rows:
    """GiB/s by row: from `size` bytes in memory to a buffer that is used again."""
    plain, out = memoryview(os.urandom(size)), memoryview(bytearray(2 * MIB))
    chunks = chunked(plain)
    whole = Cobblestone256Encryptor(bytes(32), b"")
    sealed = memoryview(whole.update(plain) + whole.finalize())
    with payload_of(sealed, size) as payload, open(os.devnull, "wb", buffering=0) as sink:
        key, drain = bytes(32), sink.fileno()
        work: dict[str, Callable[[], Any]] = {
            RAW[0]: lambda: raw(plain, out),
            "payload, encrypt": lambda: streamed(Cobblestone256Encryptor(key, b""), plain, out),
            "payload and hash list, encrypt": lambda: write_payload(
                drain, from_memory(plain), size, key, b"", HYBRID.digest
            ),
            RAW[1]: lambda: raw_again(chunks, out),
            "payload, decrypt": lambda: streamed(Cobblestone256Decryptor(key, b""), sealed, out),
            "payload and hash list, decrypt": lambda: deque(payload.pieces(), maxlen=0),
            "SHA-256": lambda: hashlib.sha256(plain),
        }
        rows: Rows = {name: [] for name in work}
        for number in range(rounds):
            for name in list(work)[:: -1 if number % 2 else 1]:
                rows[name].append(size / 2**30 / seconds(work[name]))
    return rows


@contextmanager
def payload_of(sealed: memoryview, size: int) -> Iterator[Payload]:
    """A payload of `size` plaintext bytes, under a key of zeros, in a file that lies in memory."""
    leaves = leaves_of(HYBRID.digest, sealed)
    layout = Layout(0, 0, 0, len(sealed), -(-len(sealed) // MIB), len(leaves), len(sealed), 0)
    handle = os.memfd_create("payload")
    try:
        write_all(handle, sealed)
        payload = Payload(handle, layout, size, leaves, HYBRID.digest, "memory")
        payload.unlock(bytes(32), b"")
        yield payload
    finally:
        os.close(handle)


def raw(plain: memoryview, out: memoryview) -> None:
    """AES-256-GCM over chunks of 16 KiB, each into the same buffer. The nonce is no concern of a stopwatch's."""
    aead, nonce, target = AESGCM(bytes(32)), bytes(12), out[: CHUNK + 16]
    for at in range(0, len(plain), CHUNK):
        aead.encrypt_into(nonce, plain[at : at + CHUNK], None, target)


def chunked(plain: memoryview) -> memoryview:
    """Chunks of 16 KiB, encrypted, for `raw_again`."""
    aead, nonce = AESGCM(bytes(32)), bytes(12)
    return memoryview(b"".join(aead.encrypt(nonce, plain[at : at + CHUNK], None) for at in range(0, len(plain), CHUNK)))


def raw_again(chunks: memoryview, out: memoryview) -> None:
    """The same the other way."""
    aead, nonce, target = AESGCM(bytes(32)), bytes(12), out[:CHUNK]
    for at in range(0, len(chunks), CHUNK + 16):
        aead.decrypt_into(nonce, chunks[at : at + CHUNK + 16], None, target)


def streamed(stream: Cobblestone256Encryptor | Cobblestone256Decryptor, data: memoryview, out: memoryview) -> None:
    """The library's own reader or writer of our payload, a MiB at a time."""
    for at in range(0, len(data), MIB):
        stream.update_into(data[at : at + MIB], out)
    stream.finalize()


def copied(source: Path, target: Path) -> None:
    """`cp` and sync."""
    subprocess.run(["cp", source, target], check=True)
    synced(target)


def synced(target: Path) -> None:
    """`target` is on the disk."""
    handle = os.open(target, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


@dataclass
class Spent:
    """What each round of a row took, in seconds: by the clock, and of all processors."""

    clock: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def add(self, work: Callable[[], Any]) -> None:
        """One more round."""
        before = cpu_seconds()
        self.clock.append(seconds(work))
        self.cpu.append(cpu_seconds() - before)


def cpu_seconds() -> float:
    """What this process and the children that it has waited for have used."""
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in spent)


def busy_seconds() -> float:
    """What all processes have used of all processors since the machine began."""
    user, nice, system = map(int, Path("/proc/stat").read_text().split()[1:4])
    return (user + nice + system) / os.sysconf("SC_CLK_TCK")


def files(folder: Path, size: int, rounds: int, house: House, only: Sequence[str]) -> dict[str, Spent]:
    """What each row took, for a file of `size` bytes; `only`: which rows beside the copy, or all of them."""
    plain, sealed, out = folder / "plain.safetensors", folder / "f.sealed", folder / "out"
    write_plain(plain, size)
    house.seal(plain, sealed)
    rows: dict[str, Spent] = {}
    for number in range(rounds):
        for name, work in steps(plain, sealed, out, house)[:: -1 if number % 2 else 1]:
            if only and name not in (COPY, *only):
                continue
            out.unlink(missing_ok=True)
            prepare(folder / "scratch", size)
            rows.setdefault(name, Spent()).add(work)
    for path in (plain, sealed, out, folder / "age.key", folder / "plain.age"):
        path.unlink(missing_ok=True)
    return rows


def prepare(scratch: Path, size: int) -> None:
    """The same state of the machine before each row: nothing left for the disk to do, and free pages at hand.

    A virtual machine gives free pages back to its host after a second or two, and touching one then takes four times
    as long as a copy into it (measured): so that much is written and removed just before.
    """
    os.sync()
    with scratch.open("wb", buffering=0) as file:
        for _ in range(2 * size // MIB + 256):
            file.write(bytes(MIB))
    scratch.unlink()


def steps(plain: Path, sealed: Path, out: Path, house: House) -> list[tuple[str, Callable[[], Any]]]:
    """What is measured on files; each by itself, so that any order will do."""
    trust, who = house.trust, house.identity
    return [
        (COPY, lambda: copied(plain, out)),
        ("seal", lambda: house.seal(plain, out)),
        ("unseal", lambda: unseal_file(sealed, out, who, trust=trust)),
        ("unseal to memory", lambda: unseal_bytes(sealed, who, trust=trust)),
        ("verify, no key", lambda: verify(sealed, trust)),
        ("rotate", lambda: rotate(sealed, out, who, to=[house.recipient], signer=house.signer, trust=trust)),
        ("rewrap", lambda: rewrap(sealed, who, Change([house.recipient]), trust=trust)),
        ("open", lambda: open_sealed(sealed, who, trust=trust).close()),
        *with_age(plain, out),
    ]


def with_age(plain: Path, out: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    """The same by age's own program, where it is installed; each version knows X25519."""
    if not (age := shutil.which("age")):
        return
    key, there = out.parent / "age.key", out.parent / "plain.age"
    if not key.exists():
        subprocess.run([shutil.which("age-keygen") or "age-keygen", "-o", key], check=True, capture_output=True)
    to = next(line.split()[-1] for line in key.read_text().splitlines() if "public key" in line)
    line: list[str | Path] = [age, "-r", to, "-o"]
    if not there.exists():
        subprocess.run([*line, there, plain], check=True)

    def synced_after(words: Sequence[str | Path]) -> None:
        subprocess.run(words, check=True)
        synced(out)

    yield "age, encrypt + sync", lambda: synced_after([*line, out, plain])
    yield "age, decrypt + sync", lambda: synced_after([age, "-d", "-i", key, "-o", out, there])


def write_plain(path: Path, size: int) -> None:
    """A safetensors file of 1 MiB tensors."""
    count = size // MIB
    header = {
        f"t{at}": {"dtype": "F32", "shape": [512, 512], "data_offsets": [at * MIB, (at + 1) * MIB]}
        for at in range(count)
    }
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _ in range(count):
            file.write(os.urandom(MIB))
        os.fsync(file.fileno())


def lazily(folder: Path, size: int, rounds: int, house: House) -> Rows:
    """Seconds to open a file and to get a tensor of it: far from the last one, and next to it."""
    plain, sealed = folder / "plain.safetensors", folder / "f.sealed"
    write_plain(plain, size)
    house.seal(plain, sealed)
    rows: Rows = {"open": [], ALONE: [], BEHIND: []}
    for _ in range(8 * rounds):
        rows["open"].append(seconds(lambda: open_sealed(sealed, house.identity, trust=house.trust).close()))
    for name, stride in ((ALONE, 6), (BEHIND, 1)):
        with open_sealed(sealed, house.identity, trust=house.trust) as tensors:
            names = islice(cycle(list(tensors)[::stride]), 8 * rounds)
            rows[name] += [seconds(partial(tensors.__getitem__, one)) for one in names]
    for path in (plain, sealed):
        path.unlink()
    return rows


def sparse_rewrap(folder: Path, rounds: int, house: House, recipients: int, *, signed: bool = False) -> Rows:
    """Seconds that a rewrap of a sparse file of 1 TiB takes; if it is signed, the signature is checked before."""
    path, change = folder / "huge.sealed", Change([house.recipient] * recipients)
    huge(path, 1 << 40, house, recipients, signed=signed)
    trust = house.trust if signed else None
    row = [seconds(lambda: rewrap(path, house.identity, change, trust=trust)) for _ in range(rounds)]
    path.unlink()
    return {f"rewrap, {recipients} recipients{', signature checked' if signed else ''}": row}


def huge(path: Path, size: int, house: House, recipients: int, *, signed: bool = False) -> None:
    """A sealed file of `size` bytes with head, last chunk, list and signature, whose inner chunks nobody wrote."""
    signer = house.signer.key.id if signed else ""
    core = Core(Facts("huge"), created=1, file_id="0" * 32, format="bytes", plaintext_bytes=size, signer=signer)
    text, file_key = core.encode(), bytes(32)
    bound = binding(layout.Preamble(HYBRID, len(text), 0), text)
    entries = sealer.wrapped(file_key, [house.recipient] * recipients, HYBRID, bound)
    preamble = layout.Preamble(HYBRID, len(text), layout.slot_len_for(slots.used_by(entries)))
    slot = slots.encode(entries, 1, file_key=file_key, preamble=preamble, bound=bound)
    lay = layout_of(preamble, core)
    keys = chunk_keys(payload_key(file_key, bound), bytes(SALT), bound)
    last = size // CHUNK
    with path.open("wb") as file:
        file.write((preamble.encode() + text).ljust(lay.slots, b"\0") + slot + slot + bytes(SALT) + keys.commitment)
        file.seek(lay.payload + HEAD + last * (CHUNK + 16))
        file.write(keys.aead.encrypt(keys.nonce(last), b"", None))
        file.truncate(lay.size)
        if signed:
            top = root(HYBRID.digest, bytes(lay.list_len), lay.leaves)
            file.seek(lay.signature)
            file.write(house.signer.sign(message_of(HYBRID, bound, lay, top, signer)))


def peaks(folder: Path, size: int) -> dict[str, float]:
    """MiB that a process of its own needs at most, beyond what it had before, by what it does."""
    found = {}
    write_plain(folder / "plain.safetensors", size)
    for name in ("seal", "unseal", "rotate", "verify"):
        line = [sys.executable, __file__, "--peak", name, "--folder", str(folder)]
        done = subprocess.run(line, capture_output=True, text=True, check=True)
        found[name] = float(done.stdout)
    for path in ("plain.safetensors", "f.sealed", "g.sealed", "out"):
        Path(folder, path).unlink(missing_ok=True)
    return found


def peak(name: str, folder: Path) -> float:
    """What `peaks` asks of its process."""
    house, sealed, out = House(), folder / "f.sealed", folder / "out"
    own: dict[str, Callable[[], Any]] = {
        "seal": lambda: house.seal(folder / "plain.safetensors", sealed),
        "unseal": lambda: unseal_file(sealed, out, house.identity, trust=house.trust),
        "rotate": lambda: rotate(
            sealed, folder / "g.sealed", house.identity, to=[house.recipient], signer=house.signer, trust=house.trust
        ),
        "verify": lambda: verify(sealed, house.trust),
    }
    before = _memory("VmRSS")
    own[name]()
    return (_memory("VmHWM") - before) / 1024


def _memory(name: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1])


def paired(row: Spent, beside: Spent) -> list[float]:
    """What `row` took of what `beside` took, round by round."""
    return [one / other for one, other in zip(row.clock, beside.clock, strict=True)]


def table(told: dict[str, Any]) -> str:
    """The figures as Markdown."""
    memory = {name: median(row) for name, row in told["memory"].items()}
    lines = ["| in memory | GiB/s, median | of raw AES-256-GCM |", "|---|--:|--:|"]
    for name, rate in memory.items():
        lines.append(f"| {name} | {rate:.2f} | {rate / memory[RAW['decrypt' in name]]:.2f} |")
    for size, rows in told["files"].items():
        lines += ["", f"| {size} MiB, file to file | seconds, median | min to max | CPU s | of {COPY} | min to max |"]
        lines += ["|---|--:|--:|--:|--:|--:|"]
        for name, row in rows.items():
            ratios = paired(row, rows[COPY])
            lines.append(
                f"| {name} | {median(row.clock):.3f} | {min(row.clock):.3f} to {max(row.clock):.3f}"
                f" | {median(row.cpu):.3f} | {median(ratios):.2f} | {min(ratios):.2f} to {max(ratios):.2f} |"
            )
    lines += ["", "| peak memory at the largest size | MiB |", "|---|--:|"]
    lines += [f"| {name} | {value:.0f} |" for name, value in told["peaks"].items()]
    lines += ["", "| without reading the payload | ms, median | min to max |", "|---|--:|--:|"]
    for name, row in {**told["lazy"], **told["sparse"]}.items():
        lines.append(f"| {name} | {1e3 * median(row):.2f} | {1e3 * min(row):.2f} to {1e3 * max(row):.2f} |")
    return "\n".join(lines)


def draw(told: dict[str, Any], path: Path) -> None:
    """Left: seconds by size. Right: each round of sealing and unsealing over `cp` and sync, and the goal."""
    sizes = sorted(told["files"], key=int)
    with canvas(path, title="sealed files against cp + sync", size=(9, 3.8)) as figure:
        left, right = figure.subplots(1, 2)
        styles = {COPY: (GREY, "s--"), "seal": (BLUE, "o-"), "unseal": (ORANGE, "^-")}
        styles |= {"verify, no key": ("#009E73", "v:"), "rewrap": ("#CC79A7", "d-.")}
        for name in [name for name in styles if name in told["files"][sizes[0]]]:
            colour, style = styles[name]
            took = [median(told["files"][size][name].clock) for size in sizes]
            left.plot(list(map(int, sizes)), took, style, color=colour, label=name)
        left.set(xscale="log", yscale="log", xlabel="file, MiB", ylabel="seconds, median")
        left.set_xticks(list(map(int, sizes)), sizes)
        left.minorticks_off()
        left.yaxis.set_major_formatter("{x:g}")
        left.legend(loc="upper left")
        left.grid(visible=True)
        for place, size in enumerate(sizes):
            for shift, name in ((-0.12, "seal"), (0.12, "unseal")):
                ratios = paired(told["files"][size][name], told["files"][size][COPY])
                at = [place + shift] * len(ratios)
                right.plot(at, ratios, styles[name][1][0], color=styles[name][0], alpha=0.45, markeredgewidth=0)
                right.plot([place + shift - 0.1, place + shift + 0.1], [median(ratios)] * 2, "-", color=styles[name][0])
        right.axhline(GOAL, color=GREY, linestyle="--", label=f"goal: at most {GOAL}")
        right.legend(loc="lower left")
        right.set(xlabel="file, MiB", ylabel="times cp + sync, paired; bar: median", xlim=(-0.5, len(sizes) - 0.5))
        right.set_xticks(range(len(sizes)), sizes)
        right.set_ylim(bottom=0)
        right.grid(visible=True, axis="y")


def asdict_each(rows: dict[str, Spent]) -> dict[str, dict[str, list[float]]]:
    """The rows as JSON can hold them."""
    return {name: vars(row) for name, row in rows.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, and prints the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--folder", type=Path, required=True, help="where files are written; on the disk in question")
    parser.add_argument("--sizes", type=int, nargs="+", default=[16, 256, 1024], help="MiB")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="+", default=(), help="rows of the files' tables, beside the copy")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--peak", choices=("seal", "unseal", "rotate", "verify"), help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.peak:
        print(peak(given.peak, given.folder))
        return
    house = House()
    load, before, began = os.getloadavg(), busy_seconds() - cpu_seconds(), time.perf_counter()
    told: dict[str, Any] = {
        "memory": in_memory(given.rounds),
        "files": {str(size): files(given.folder, size * MIB, given.rounds, house, given.only) for size in given.sizes},
        "lazy": lazily(given.folder, min(given.sizes) * MIB, given.rounds, house),
        "sparse": sparse_rewrap(given.folder, given.rounds, house, 1)
        | sparse_rewrap(given.folder, given.rounds, house, 100)
        | sparse_rewrap(given.folder, given.rounds, house, 100, signed=True),
        "peaks": peaks(given.folder, max(given.sizes) * MIB),
        "environment": environment(),
    }
    others = (busy_seconds() - cpu_seconds() - before) / (time.perf_counter() - began)
    told["load"] = {"before": load[0], "after": os.getloadavg()[0], "others": others, "cores": os.cpu_count()}
    print(table(told))
    print(f"\nother processes kept {others:.1f} of {os.cpu_count()} cores busy meanwhile")
    if given.json:
        write_json(given.json, told | {"files": {size: asdict_each(rows) for size, rows in told["files"].items()}})
    if given.picture:
        draw(told, given.picture)


if __name__ == "__main__":
    main()
