"""SHA3-256 of tensors: of their names, types, shapes and bytes, whatever file they lie in."""

import hashlib
import struct
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from harden.watermarking.layout import Weights

LABEL = b"harden/watermark/v1 tensors\0"
THREADS = 2  # hashing one tensor keeps one core busy


def digest_of(weights: Weights) -> str:
    """The digest, in hex: over the sorted names, each with the digest of its type, shape and bytes."""
    names = sorted(weights)
    with ThreadPoolExecutor(THREADS) as pool:
        each = list(pool.map(lambda name: _own(weights[name]), names))
    whole = hashlib.sha3_256(LABEL)
    for name, own in zip(names, each, strict=True):
        spelled = name.encode()
        whole.update(struct.pack(">I", len(spelled)) + spelled + own)
    return whole.hexdigest()


def _own(tensor: Tensor) -> bytes:
    """The digest of one tensor's type, shape and little-endian bytes, in row-major order."""
    kind = str(tensor.dtype).removeprefix("torch.").encode()
    head = struct.pack(">I", len(kind)) + kind + struct.pack(f">I{tensor.dim()}Q", tensor.dim(), *tensor.shape)
    digest = hashlib.sha3_256(head)
    for piece in _pieces(tensor):
        digest.update(piece)
    return digest.digest()


def _pieces(tensor: Tensor) -> Iterable[memoryview]:
    """The bytes, 16 MiB at a time, so that a mapped file stays on disk."""
    data = tensor.detach().contiguous().reshape(-1).view(torch.uint8) if tensor.numel() else torch.empty(0).byte()
    whole = memoryview(data.numpy())  # type: ignore[arg-type]
    return (whole[start : start + (1 << 24)] for start in range(0, len(whole), 1 << 24))
