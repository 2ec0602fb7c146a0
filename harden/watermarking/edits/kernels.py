"""Which tensors an attacker takes for kernels, by nothing but their shape."""

from torch import Tensor

from harden.watermarking.wiring.channels import Weights


def kernels_of(weights: Weights) -> list[str]:
    """The names of floating tensors with rows and columns; a mean of shape (channels, 1, 1) has none."""
    return [name for name, tensor in weights.items() if is_kernel(tensor)]


def is_kernel(tensor: Tensor) -> bool:
    """Whether the tensor has rows and columns to be edited."""
    return tensor.is_floating_point() and tensor.dim() >= 2 and tensor[0].numel() > 1
