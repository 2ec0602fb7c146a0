"""Sealed tensors by name, each decrypted when it is asked for: nothing of the file is read that nobody wants."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from harden.sealing.errors import Damaged
from harden.sealing.identity import Identity
from harden.sealing.memory import secret_memory
from harden.sealing.opening import Unlocked, unlocked
from harden.sealing.provider import Provider, provider
from harden.sealing.publish import naming
from harden.sealing.tensors import contents_of
from harden.sealing.trust import Trust


@dataclass(frozen=True)
class Tensor:
    """A tensor as it lies in memory: its type by the name safetensors has for it, its shape, its bytes in C order."""

    dtype: str
    shape: tuple[int, ...]
    data: memoryview


class SealedTensors(Mapping[str, Tensor]):
    """The tensors of a sealed safetensors file, by name; each access decrypts anew.

    Holds the file open until `close` or the end of a `with` block; tensors that were handed out stay good. An
    access raises Damaged where the tensor's bytes were changed, and Unreadable.
    """

    def __init__(self, handle: int, found: Unlocked) -> None:
        self.head, self._payload = found.head, found.payload
        where = f"{self.head.where}: what is sealed in it"
        contents = contents_of(lambda at, length: bytes(self._read(at, length)), self._payload.size, where)
        self._places, self.metadata = contents.places, contents.metadata
        self._handle: int | None = handle

    def __getitem__(self, name: str) -> Tensor:
        place = self._places[name]
        self._check_open()
        return Tensor(place.dtype, place.shape, self._read(place.start, place.length))

    def __contains__(self, name: object) -> bool:
        return name in self._places  # Mapping's own would decrypt it

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def pieces(self) -> Iterator[memoryview]:
        """All of the safetensors file in the clear, in pieces of some MiB; a piece is good until the next."""
        self._check_open()
        return self._payload.pieces()

    def close(self) -> None:
        """Closes the file; again: nothing."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def __enter__(self) -> "SealedTensors":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._handle is None:
            raise ValueError(f"{self.head.where}: is closed")

    def _read(self, start: int, length: int) -> memoryview:
        view = secret_memory(length)
        self._payload.read_into(start, view)
        return view


def open_sealed(
    path: str | Path, identity: Identity, *, trust: Trust | None, by: Provider | None = None
) -> SealedTensors:
    """The tensors of the sealed safetensors file at `path`, of which only the header is decrypted yet.

    `trust` has no default, as None means that the origin is not asked for. Raises NotSealed, Damaged, WrongKey,
    Untrusted and their children, Refused, Unreadable.
    """
    with naming(path):
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        found = unlocked(handle, str(path), identity, trust, by or provider())
        if found.head.core.format != "safetensors":
            raise Damaged(f"{path}: holds {found.head.core.format}, wanted safetensors", "unseal it to a file")
        return SealedTensors(handle, found)
    except BaseException:
        os.close(handle)
        raise
