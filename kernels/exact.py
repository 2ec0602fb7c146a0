"""The torch engine's exact part: operations whose float32 bits are the same on every engine."""

import math

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF


@torch.no_grad()
def step_linf(
    x_adv: Tensor,
    gradient: Tensor,
    x: Tensor,
    *,
    step: float,
    eps: float,
    low: float,
    high: float,
    out: Tensor,
) -> Tensor:
    torch.add(x_adv, torch.sign(gradient).mul_(step), out=out)
    return project_linf(out, x, eps=eps, low=low, high=high, out=out)


@torch.no_grad()
def project_linf(x_adv: Tensor, x: Tensor, *, eps: float, low: float, high: float, out: Tensor) -> Tensor:
    edge = x - eps
    torch.maximum(x_adv, edge, out=out)
    torch.add(x, eps, out=edge)
    torch.minimum(out, edge, out=out)
    return out.clamp_(low, high)


@torch.no_grad()
def apgd_linf(
    x_adv: Tensor,
    before: Tensor,
    gradient: Tensor,
    x: Tensor,
    *,
    size: Tensor,
    share: float,
    rest: float,
    eps: float,
    low: float,
    high: float,
    out: Tensor,
) -> Tensor:
    ball = {"eps": eps, "low": low, "high": high}
    sign = torch.where(gradient.isnan(), 0, torch.sign(gradient))
    z = x_adv + sign.mul_(size.view(-1, *[1] * (x.ndim - 1)))
    project_linf(z, x, **ball, out=z)
    inertia = (x_adv - before).mul_(rest)
    torch.add(x_adv, z.sub_(x_adv).mul_(share), out=out)
    return project_linf(out.add_(inertia), x, **ball, out=out)


@torch.no_grad()
def keep_best(
    x_adv: Tensor, gradient: Tensor, loss: Tensor, *, best: Tensor, best_gradient: Tensor, best_loss: Tensor
) -> Tensor:
    loss = loss.nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)
    better = loss > best_loss
    rows = better.view(-1, *[1] * (best.ndim - 1))
    torch.where(rows, x_adv, best, out=best)
    torch.where(rows, gradient, best_gradient, out=best_gradient)
    return torch.where(better, loss, best_loss, out=best_loss)


@torch.no_grad()
def start_linf(
    key: int, rows: Tensor, x: Tensor, *, eps: float, low: float, high: float, draw: int, out: Tensor
) -> Tensor:
    unit = uniform(key, rows, low=-1.0, span=2.0, draw=draw, out=torch.empty_like(out))
    torch.add(x, unit.mul_(eps), out=out)
    return out.clamp_(low, high)


@torch.no_grad()
def uniform(key: int, rows: Tensor, *, low: float, span: float, draw: int, out: Tensor) -> Tensor:
    elements = math.prod(out.shape[1:])
    block = torch.arange(-(-elements // 4), device=rows.device)
    id_low, id_high = (rows & _MASK)[:, None], (rows >> 32 & _MASK)[:, None]
    words = torch.stack(philox((block[None], id_low, id_high, torch.full_like(block, draw)), key), dim=-1)
    u = (words.flatten(1)[:, :elements] >> 8).to(torch.float32).mul_(2.0**-24)
    torch.mul(u.reshape(out.shape), span, out=out)
    return out.add_(low)


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The four words of Philox4x32-10 at `counter`: int64 tensors of 32-bit values that broadcast."""
    c0, c1, c2, c3 = counter
    k0, k1 = key & _MASK, key >> 32
    for _ in range(10):
        # int64 wraps, and a wrapped product has the bits of the unsigned one.
        p0, p1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = (p1 >> 32 & _MASK) ^ c1 ^ k0, p1 & _MASK, (p0 >> 32 & _MASK) ^ c3 ^ k1, p0 & _MASK
        k0, k1 = (k0 + 0x9E3779B9) & _MASK, (k1 + 0xBB67AE85) & _MASK
    return c0, c1, c2, c3
