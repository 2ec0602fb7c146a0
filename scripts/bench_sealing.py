"""Sealing against the primitives it is made of, against `cp` and sync, and against age where it is installed.

    python scripts/bench_sealing.py --folder FOLDER_ON_A_DISK --rounds 7 --json bench.json --picture bench.svg

All rows of a round run one after the other, so that a change in the machine's load meets them alike; ratios are
medians of the rounds' own. In memory: 16 KiB chunks, reused buffers, one thread. Files: safetensors of 1 MiB tensors,
warm in the page cache; `cp` and what is sealed or unsealed are synced before the clock stops. Peak memory is that of
a process of its own, less what it had before it began.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from harden.environment import environment
from harden.files import write_json
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
from harden.sealing.layout import CHUNK, HEAD, layout_of
from harden.sealing.payload import SALT, chunk_keys
from harden.sealing.signing import signer_of
from harden.sealing.suites import HYBRID
from harden.sealing.trust import OneSigner

MIB = 1 << 20
Rows = dict[str, list[float]]
RAW = ("raw AES-256-GCM, encrypt", "raw AES-256-GCM, decrypt")


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
    """GiB/s of a core, by row: from `size` bytes in memory to a buffer of 1 MiB that is used again."""
    plain, out = memoryview(os.urandom(size)), memoryview(bytearray(2 * MIB))
    chunks = chunked(plain)
    whole = Cobblestone256Encryptor(bytes(32), b"")
    sealed = memoryview(whole.update(plain) + whole.finalize())
    work: dict[str, Callable[[], Any]] = {
        RAW[0]: lambda: raw(plain, out),
        "payload, encrypt": lambda: streamed(Cobblestone256Encryptor(bytes(32), b""), plain, out),
        RAW[1]: lambda: raw_again(chunks, out),
        "payload, decrypt": lambda: streamed(Cobblestone256Decryptor(bytes(32), b""), sealed, out),
        "SHA-256": lambda: hashlib.sha256(plain),
    }
    rows: Rows = {name: [] for name in work}
    for _ in range(rounds):
        for name, one in work.items():
            rows[name].append(size / 2**30 / seconds(one))
    return rows


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
    handle = os.open(target, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def files(folder: Path, size: int, rounds: int, house: House) -> Rows:
    """Seconds by row, for a file of `size` bytes."""
    plain, sealed, out = folder / "plain.safetensors", folder / "f.sealed", folder / "out"
    write_plain(plain, size)
    rows: Rows = {}
    for _ in range(rounds):
        for name, work in steps(plain, sealed, out, house):
            out.unlink(missing_ok=True)
            if name == "seal":
                sealed.unlink(missing_ok=True)
            prepare(folder / "scratch", size)
            rows.setdefault(name, []).append(seconds(work))
    for path in (plain, sealed, out):
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


def steps(plain: Path, sealed: Path, out: Path, house: House) -> Iterator[tuple[str, Callable[[], Any]]]:
    """What is measured on files, in the order in which it can be done."""
    trust, who = house.trust, house.identity
    yield "cp + sync", lambda: copied(plain, out)
    yield "seal", lambda: house.seal(plain, sealed)
    yield "unseal", lambda: unseal_file(sealed, out, who, trust=trust)
    yield "unseal to memory", lambda: unseal_bytes(sealed, who, trust=trust)
    yield "verify, no key", lambda: verify(sealed, trust)
    yield "rotate", lambda: rotate(sealed, out, who, to=[house.recipient], signer=house.signer, trust=trust)
    yield "rewrap", lambda: rewrap(sealed, who, Change([house.recipient]), trust=trust)
    yield "open", lambda: open_sealed(sealed, who, trust=trust).close()
    with open_sealed(sealed, who, trust=trust) as tensors:
        yield "one tensor of 1 MiB", lambda: tensors["t3"]
    if age := shutil.which("age"):
        key = Path(out.parent, "age.key")
        if not key.exists():
            subprocess.run([shutil.which("age-keygen") or "age-keygen", "-o", key], check=True, capture_output=True)
        to = next(line.split()[-1] for line in key.read_text().splitlines() if "public key" in line)
        yield "age, encrypt", lambda: subprocess.run([age, "-r", to, "-o", out, plain], check=True)


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


def sparse_rewrap(folder: Path, rounds: int, house: House, recipients: int) -> Rows:
    """Seconds that a rewrap of a sparse file of 1 TiB takes: with a whole head and end, and a hole between."""
    path, change = folder / "huge.sealed", Change([house.recipient] * recipients)
    huge(path, 1 << 40, house, recipients)
    row = [seconds(lambda: rewrap(path, house.identity, change, trust=None)) for _ in range(rounds)]
    path.unlink()
    return {f"rewrap, {recipients} recipients": row}


def huge(path: Path, size: int, house: House, recipients: int) -> None:
    """A sealed file of `size` bytes whose inner chunks nobody wrote: the head of one, and its last chunk."""
    core = Core(Facts("huge"), created=1, file_id="0" * 32, format="bytes", plaintext_bytes=size, signer="")
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


def table(told: dict[str, Any]) -> str:
    """The figures as Markdown."""
    memory = {name: median(row) for name, row in told["memory"].items()}
    lines = ["| in memory, one core | GiB/s | of raw AES-256-GCM |", "|---|--:|--:|"]
    for name, rate in memory.items():
        lines.append(f"| {name} | {rate:.2f} | {rate / memory[RAW['decrypt' in name]]:.2f} |")
    for size, rows in told["files"].items():
        lines += ["", f"| {size} MiB, file to file | seconds, median | min to max | of cp + sync, median of paired |"]
        lines += ["|---|--:|--:|--:|"]
        for name, row in rows.items():
            paired = median(one / copy for one, copy in zip(row, rows["cp + sync"], strict=True))
            lines.append(f"| {name} | {median(row):.4f} | {min(row):.4f} to {max(row):.4f} | {paired:.2f} |")
    lines += ["", "| peak memory at the largest size | MiB |", "|---|--:|"]
    lines += [f"| {name} | {value:.0f} |" for name, value in told["peaks"].items()]
    lines += ["", "| sparse file of 1 TiB | seconds, median | max |", "|---|--:|--:|"]
    lines += [f"| {name} | {median(row):.3f} | {max(row):.3f} |" for name, row in told["sparse"].items()]
    return "\n".join(lines)


def draw(told: dict[str, Any], path: Path) -> None:
    """Seconds by size, as a picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    sizes = sorted(map(int, told["files"]))
    for name in ("cp + sync", "seal", "unseal", "verify, no key", "rotate", "open", "one tensor of 1 MiB"):
        axes.plot(sizes, [median(told["files"][str(size)][name]) for size in sizes], "o-", label=name)
    axes.set(xscale="log", yscale="log", xlabel="file, MiB", ylabel="seconds", title="sealed files: time by size")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, and prints the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--folder", type=Path, required=True, help="where files are written; on the disk in question")
    parser.add_argument("--sizes", type=int, nargs="+", default=[16, 256, 1024], help="MiB")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--peak", choices=("seal", "unseal", "rotate", "verify"), help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.peak:
        print(peak(given.peak, given.folder))
        return
    house = House()
    load = os.getloadavg()
    told: dict[str, Any] = {
        "memory": in_memory(given.rounds),
        "files": {str(size): files(given.folder, size * MIB, given.rounds, house) for size in given.sizes},
        "sparse": {
            name: row
            for count in (1, 100)
            for name, row in sparse_rewrap(given.folder, given.rounds, house, count).items()
        },
        "peaks": peaks(given.folder, max(given.sizes) * MIB),
        "environment": environment(),
        "load": {"before": load, "after": os.getloadavg(), "cores": len(os.sched_getaffinity(0))},
    }
    print(table(told))
    print(f"\nload {load[0]:.1f} before and {told['load']['after'][0]:.1f} after, {told['load']['cores']} cores")
    if given.json:
        write_json(given.json, told)
    if given.picture:
        draw(told, given.picture)


if __name__ == "__main__":
    main()
