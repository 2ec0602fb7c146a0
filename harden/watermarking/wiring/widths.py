"""A network with the tensors of another width: what dummies and structured pruning leave behind still computes."""

import copy

from torch import Tensor, nn

from harden.watermarking.wiring.channels import Weights


def dressed(model: nn.Module, weights: Weights) -> nn.Module:
    """A copy of `model`, in eval mode, that holds `weights` of any width; raises KeyError for a missing one."""
    out = copy.deepcopy(model).eval()
    for name, old in [*out.named_parameters(), *out.named_buffers()]:
        owner, _, last = name.rpartition(".")
        place = out.get_submodule(owner)
        new = weights[name].detach().clone()
        setattr(place, last, nn.Parameter(new.to(old.dtype)) if isinstance(old, nn.Parameter) else new.to(old.dtype))
    for module in out.modules():
        _resize(module)
    return out


def _resize(module: nn.Module) -> None:
    """Sets the widths that the module checks or prints to those of its tensors."""
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor):
        return
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = weight.shape
    elif isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        module.out_channels, module.in_channels = weight.shape[:2]
    elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
        module.num_features = len(weight)
