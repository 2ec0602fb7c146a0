"""Which tensors of a network share a channel: what may be permuted, scaled, split or merged without being noticed.

`wired` follows the data through a network; `Wiring` is what the removal suite and its tests go by.
"""

from harden.watermarking.wiring.channels import Axis, Norm, Port, Span, Wiring
from harden.watermarking.wiring.tracing import wired

__all__ = ["Axis", "Norm", "Port", "Span", "Wiring", "wired"]
