"""Sealed weights as tensors: decrypted to memory, one at a time, when they are asked for.

`harden.sealing` names no framework; here its bytes become tensors without a copy. What opens a sealed file is said
once, around the code that reads weights: `with opening(keys): load(path)` takes sealed files and plain ones alike.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from harden import sealing
from harden.errors import ConfigError, WeightsError
from harden.files import sha256_of
from harden.sealing.layout import MAGIC

if TYPE_CHECKING:
    from harden.sealing import Identity, Provider, SealedTensors, Trust

DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "U16": torch.uint16,
    "U32": torch.uint32,
    "U64": torch.uint64,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
    "C64": torch.complex64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
"""Types by the names that safetensors has for them."""


@dataclass(frozen=True)
class Keys:
    """What opens sealed weights. `trust` None: their origin is not asked for."""

    identity: "Identity"
    trust: "Trust | None"
    by: "Provider"


class SealedState(Mapping[str, Tensor]):
    """A sealed state dict: `model.load_state_dict(state)` decrypts each tensor as it comes to it.

    Tensors share memory with nothing else, and are decrypted anew at each access. Raises as `open_sealed`.
    """

    def __init__(self, tensors: "SealedTensors") -> None:
        self.sealed = tensors

    def __getitem__(self, name: str) -> Tensor:
        found = self.sealed[name]
        if found.dtype not in DTYPES:
            raise WeightsError(
                f"{self.sealed.head.where}: holds numbers of type {found.dtype}, which torch cannot read"
            )
        dtype = DTYPES[found.dtype]
        flat = torch.frombuffer(found.data, dtype=dtype) if found.data.nbytes else torch.empty(0, dtype=dtype)
        return flat.reshape(found.shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self.sealed)

    def __len__(self) -> int:
        return len(self.sealed)


@contextmanager
def sealed_state(
    path: Path | str, identity: "Identity", *, trust: "Trust | None", by: "Provider | None" = None
) -> Iterator[SealedState]:
    """The tensors of the sealed safetensors file at `path`, by name; good until the block ends."""
    with sealing.open_sealed(path, identity, trust=trust, by=by or sealing.provider()) as tensors:
        yield SealedState(tensors)


_KEYS: ContextVar[Callable[[], Keys] | None] = ContextVar("keys", default=None)


@contextmanager
def opening(keys: Callable[[], Keys]) -> Iterator[None]:
    """Inside, sealed weights are read wherever plain ones are. `keys` is called at the first sealed file."""
    before = _KEYS.set(keys)
    try:
        yield
    finally:
        _KEYS.reset(before)


def is_sealed(path: Path) -> bool:
    """Whether the file at `path` begins as a sealed one; False where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def unsealed(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of the sealed file at `path`, by the keys of the block around.

    Raises ConfigError outside of any, and whatever opening raises.
    """
    with _open(path) as tensors:
        return dict(SealedState(tensors)), dict(tensors.metadata)


def digest_of_weights(path: Path) -> str:
    """SHA-256 of a weights file in hex; of a sealed one, that of what is sealed in it: a rewrap does not change it."""
    if not is_sealed(path):
        return sha256_of(path)
    digest = hashlib.sha256()
    with _open(path) as tensors:
        for piece in tensors.pieces():
            digest.update(piece)
    return digest.hexdigest()


def _open(path: Path) -> "SealedTensors":
    keys = _KEYS.get()
    if keys is None:
        raise ConfigError(f"{path}: is sealed", "say what opens it: identity=alice.key trust=acme.pub")
    found = keys()
    return sealing.open_sealed(path, found.identity, trust=found.trust, by=found.by)
