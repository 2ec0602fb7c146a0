"""How far a float32 network can be from its exact self.

A certificate speaks of the network as it is run. A float32 sum of k products, in any order, differs from the exact
one by at most gamma_k times the sum of the products' sizes, gamma_k = k u / (1 - k u), u = 2^-24 (Higham 2002,
Accuracy and Stability of Numerical Algorithms, section 3.1); errors then spread as any perturbation does.
"""

from torch import Tensor

from harden.certification.intervals import Interval
from harden.certification.layers import Affine, Layer

UNIT = 2.0**-24


def error(layers: list[Layer], met: list[Interval]) -> Tensor:
    """By how much each logit of the float32 network can be off anywhere in the intervals, (n, classes)."""
    off = met[0].radius.new_zeros(met[0].radius.shape)
    for layer, z in zip(layers, met[:-1], strict=True):
        if isinstance(layer, Affine):
            size = z.middle.abs() + z.radius + off
            sums = layer.spread(size)
            if layer.bias is not None:
                sums = sums + layer.bias.abs()
            terms = (
                layer.products(size.shape) + 3
            ) * UNIT  # the products, the bias, and the weights' own derivation (1 / std)
            off = layer.spread(off) + terms / (1 - terms) * sums
    return off
