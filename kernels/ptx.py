"""The CUDA kernels as PTX and, where the toolkit's linker is installed, as cubins: compiled without a GPU.

For tests and for looking at what the compiler made of them; at run time `cuda` compiles for the device it finds.
"""

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from numba import types as _types

from harden.kernels import blocks, gpu

types: Any = _types
_F, _N = types.float32, types.int64
_FLOATS, _IDS, _FLAGS = types.CPointer(_F), types.CPointer(_N), types.CPointer(types.uint8)

SIGNATURES: dict[str, tuple[Any, ...]] = {
    "step_linf": (*[_FLOATS] * 3, *[_F] * 4, _N, _FLOATS),
    "project_linf": (*[_FLOATS] * 2, *[_F] * 3, _N, _FLOATS),
    "apgd_linf": (*[_FLOATS] * 5, *[_F] * 5, _N, _N, _FLOATS),
    "keep_best": (*[_FLOATS] * 3, _N, _N, *[_FLOATS] * 3),
    "step_l2": (*[_FLOATS] * 3, *[_F] * 4, _N, _N, _FLOATS),
    "project_l2": (*[_FLOATS] * 2, *[_F] * 3, _N, _N, _FLOATS),
    "step_l1": (*[_FLOATS] * 2, types.CPointer(types.int32), _FLOATS, *[_F] * 4, *[_N] * 3, _FLOATS),
    "project_l1": (*[_FLOATS] * 2, *[_F] * 3, _N, _N, _FLOATS),
    "onto_plane": (*[_FLOATS] * 3, _F, _F, *[_N] * 3, _FLOATS),
    "paste": (_FLOATS, _FLOATS, _IDS, _FLOATS, _N, *[_F] * 3, *[_N] * 4, _FLOATS, _FLAGS),
    "take_back": (_FLOATS, _IDS, _FLAGS, *[_N] * 5, _FLOATS),
    "uniform": (_N, _N, _IDS, _N, _F, _F, _N, _N, _FLOATS),
    "start_linf": (_N, _N, _IDS, _N, _FLOATS, *[_F] * 3, _N, _N, _FLOATS),
    "margin": (_FLOATS, _IDS, _N, _N, _FLOATS, _FLOATS),
    "dlr": (_FLOATS, _IDS, _N, _N, _FLOATS, _FLOATS),
    "targeted_dlr": (_FLOATS, _IDS, _IDS, _N, _N, _FLOATS, _FLOATS),
}
"""The argument types of each kernel of `blocks`, arrays as bare pointers."""


def ptx(name: str, capability: tuple[int, int]) -> str:
    """The PTX of kernel `name` for GPUs of `capability`, such as (9, 0)."""
    kernel: Callable[..., None] = getattr(blocks, name)
    text: str = gpu.cuda.compile_ptx(kernel, SIGNATURES[name], cc=capability)[0]
    return text


def cubin(name: str, capability: tuple[int, int]) -> bytes:
    """The machine code of kernel `name`. Raises ImportError where cuda-core or the toolkit's linker is missing."""
    from cuda.core import Linker, LinkerOptions, ObjectCode

    arch = f"sm_{capability[0]}{capability[1]}"
    code = ObjectCode.from_ptx(ptx(name, capability).encode())
    return bytes(Linker(code, options=LinkerOptions(arch=arch)).link("cubin").code)


def traffic(text: str) -> tuple[int, int]:
    """Loads from and stores to global memory for each element, in PTX whose loop may be unrolled.

    Of a loop that stores one number an element: the loads of all its copies over their stores.
    """
    count = Counter(re.findall(r"^\s*(ld|st)\.global\S*", text, re.MULTILINE))
    loads, stores = count["ld"], count["st"]
    if loads % stores:
        raise ValueError(f"{loads} loads and {stores} stores: not one store an element")
    return loads // stores, 1
