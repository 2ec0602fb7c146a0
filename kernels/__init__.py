"""The hot loops of perturbation: one interface, several engines that agree.

Shapes: x, x_adv, gradient and out are (n, *pixel), one sample a row, of one shape, device and
dtype (float32 or float64).
x is the clean image and lies in the box low..high; eps, step, low and high are in pixel units and are rounded
to float32 once, so that every engine computes with the same numbers. Each function writes `out` and returns
it; out may be x_adv, and shares memory with no other argument. Nothing here is recorded by autograd.

What is guaranteed after rounding, for finite x_adv: the box exactly; the L-inf ball as the interval
[x - eps, x + eps] computed in the tensors' dtype; the L2 and L1 balls to 1e-6 times max(eps, high - low).
L-inf, uniform, start, Auto-PGD's move and paste give the same bits in float32 on every engine (inputs without negative
zeros); L2, L1 and the losses agree to 1e-6. Bad arguments raise ValueError.

What an engine allocates: numba, two rows of a sample's length for each thread in l2 and l1, nothing in the rest; cuda,
nothing but the (n,) answer of `paste`; torch, temporaries as its operations need them.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from harden.kernels import dispatch
from harden.kernels.arguments import (
    agree,
    limits,
    logits_fit,
    numbers_fit,
    one_number_each,
    one_row_each,
    ordered,
    patches_fit,
    pixels_in,
    single,
    told,
    word,
)
from harden.kernels.dispatch import ENGINES, Wanted, available, engine_for, preferring, using
from harden.kernels.layers import Kind, Layer, Pair, Size

if TYPE_CHECKING:
    from harden.kernels.chain import Chain

__all__ = [
    "ENGINES",
    "Kind",
    "Layer",
    "Pair",
    "Size",
    "Wanted",
    "apgd_linf",
    "available",
    "dlr",
    "engine_for",
    "follower",
    "keep_best",
    "margin",
    "onto_plane",
    "paste",
    "preferring",
    "project_l1",
    "project_l2",
    "project_linf",
    "start_linf",
    "step_l1",
    "step_l2",
    "step_linf",
    "take_back",
    "targeted_dlr",
    "uniform",
    "using",
]


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
    """clip(clip(x_adv + step * sign(gradient), x - eps, x + eps), low, high), with sign(NaN) = 0."""
    agree(out, x_adv=x_adv, gradient=gradient, x=x)
    step = single("step", step)
    eps, low, high = limits(eps, low, high)
    engine = dispatch.engine(x_adv, gradient, x, out)
    return engine.step_linf(x_adv, gradient, x, step=step, eps=eps, low=low, high=high, out=out)


def step_l2(
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
    """Each sample moved by `step` along gradient / ||gradient||_2, then `project_l2`.

    The norm is summed in float64 and rounded to the tensors' dtype, so that a gradient of 1e-30 keeps its
    direction. A sample whose norm is then zero or not finite does not move.
    """
    agree(out, x_adv=x_adv, gradient=gradient, x=x)
    step = single("step", step)
    eps, low, high = limits(eps, low, high)
    engine = dispatch.engine(x_adv, gradient, x, out)
    return engine.step_l2(x_adv, gradient, x, step=step, eps=eps, low=low, high=high, out=out)


def step_l1(
    x_adv: Tensor,
    gradient: Tensor,
    x: Tensor,
    *,
    step: float,
    eps: float,
    low: float,
    high: float,
    share: float,
    out: Tensor,
) -> Tensor:
    """Each sample moved by an L1 length of `step` on its few steepest pixels, then `project_l1`.

    SLIDE (Tramer and Boneh 2019, arXiv 1904.13000) among the coordinates that can still move: those whose
    gradient is neither zero nor NaN and does not point out of the box at its edge. Of these the
    ceil(share * d) with the largest |gradient| move by step / k * sign(gradient), where k is how many move:
    ties with the last one move too, and k is less where fewer can. share is in (0, 1].
    """
    agree(out, x_adv=x_adv, gradient=gradient, x=x)
    step = single("step", step)
    count = pixels_in(share, out)
    eps, low, high = limits(eps, low, high)
    engine = dispatch.engine(x_adv, gradient, x, out)
    return engine.step_l1(x_adv, gradient, x, step=step, eps=eps, low=low, high=high, count=count, out=out)


def project_linf(x_adv: Tensor, x: Tensor, *, eps: float, low: float, high: float, out: Tensor) -> Tensor:
    """The nearest point of ball and box: clip(clip(x_adv, x - eps, x + eps), low, high)."""
    agree(out, x_adv=x_adv, x=x)
    eps, low, high = limits(eps, low, high)
    engine = dispatch.engine(x_adv, x, out)
    return engine.project_linf(x_adv, x, eps=eps, low=low, high=high, out=out)


def project_l2(x_adv: Tensor, x: Tensor, *, eps: float, low: float, high: float, out: Tensor) -> Tensor:
    """The point nearest to x_adv of the intersection of L2 ball and box; x_adv itself where it is inside both.

    With u = x_adv - x and room_i the distance from x_i to the edge of the box on u_i's side, the answer is
    x_i + sign(u_i) * min(s |u_i|, room_i) for the largest s <= 1 that leaves its length at eps at most. Cutting
    by ball and then by box, as is usual, gives away what the box cuts off.
    """
    agree(out, x_adv=x_adv, x=x)
    eps, low, high = limits(eps, low, high)
    engine = dispatch.engine(x_adv, x, out)
    return engine.project_l2(x_adv, x, eps=eps, low=low, high=high, out=out)


def project_l1(x_adv: Tensor, x: Tensor, *, eps: float, low: float, high: float, out: Tensor) -> Tensor:
    """The point nearest to x_adv, in the Euclidean sense, of the intersection of L1 ball and box.

    Croce and Hein 2021 (arXiv 2103.01208): with u = x_adv - x and room_i the distance from x_i to the edge of
    the box on u_i's side, the answer is x_i + sign(u_i) * min(max(|u_i| - lam, 0), room_i) for the least
    lam >= 0 that brings the sum of lengths down to eps. x_adv cut by the box where that is inside the ball.
    """
    agree(out, x_adv=x_adv, x=x)
    eps, low, high = limits(eps, low, high)
    engine = dispatch.engine(x_adv, x, out)
    return engine.project_l1(x_adv, x, eps=eps, low=low, high=high, out=out)


def onto_plane(
    point: Tensor, normal: Tensor, offset: Tensor, *, euclidean: bool, low: float, high: float, out: Tensor
) -> Tensor:
    """The smallest step d, in L2 if `euclidean`, else in L-inf, with normal . d = -offset and point + d in the box.

    point, normal, out: (n, pixels) float32; offset: (n,), the value of the plane's equation at the point, which lies
    in the box. As far as the box allows where it does not reach the plane. With r the root of a concave, piecewise
    linear equation, which Newton's method from the left finds in a handful of steps, pixel i moves by
    min(r s_i, room_i), s_i = |normal_i| or 1 (Croce and Hein 2020, arXiv 1907.02044, section 3.1).
    """
    agree(out, point=point, normal=normal)
    one_number_each(out, offset)
    low, high = ordered(low, high)
    engine = dispatch.engine(point, normal, out)
    return engine.onto_plane(point, normal, offset, euclidean=euclidean, low=low, high=high, out=out)


def paste(
    x_adv: Tensor,
    x: Tensor,
    corner: Tensor,
    leap: Tensor,
    *,
    side: int,
    eps: float,
    low: float,
    high: float,
    old: Tensor,
) -> Tensor:
    """Adds leap[i, c] to a square window of each image, in place, cut to ball and box; which images changed, (n,) bool.

    x_adv: (n, c, h, w), contiguous; x: the clean images; corner: (n,) int64, the window's first pixel as
    row * w + column; leap: (n, c). `old`, (n, c, side, side), gets what stood in the window. A window that leaves the
    image changes nothing. Same bits in float32 on every engine.
    """
    agree(x_adv, x=x)
    patches_fit(x_adv, corner, old, side)
    if leap.shape != x_adv.shape[:2] or leap.dtype != x_adv.dtype or leap.device != x_adv.device:
        raise ValueError(f"leap is {told(leap)}, x_adv is {told(x_adv)}; wanted one number a channel")
    eps, low, high = limits(eps, low, high)
    engine = dispatch.engine(x_adv, x, corner, leap, old)
    return engine.paste(x_adv, x, corner, leap, side=side, eps=eps, low=low, high=high, old=old)


def take_back(x_adv: Tensor, corner: Tensor, kept: Tensor, *, side: int, old: Tensor) -> Tensor:
    """What `paste` did undone, in place, but for the images that are `kept`, (n,) bool; `old` as `paste` left it."""
    patches_fit(x_adv, corner, old, side)
    if kept.shape != x_adv.shape[:1] or kept.dtype != torch.bool or kept.device != x_adv.device:
        raise ValueError(f"kept is {told(kept)}, x_adv is {told(x_adv)}; wanted one bool a sample")
    engine = dispatch.engine(x_adv, corner, kept, old)
    return engine.take_back(x_adv, corner, kept, side=side, old=old)


def uniform(key: int, rows: Tensor, *, low: float, high: float, draw: int = 0, out: Tensor) -> Tensor:
    """Uniform numbers low + (high - low) * u that depend on key, sample id, element and draw alone.

    u = (word >> 8) / 2**24 in [0, 1); the word is number element % 4 of Philox4x32-10 (Salmon et al. 2011,
    SC'11) at counter (element // 4, id low, id high, draw) under the 64-bit key, low words first. rows: the
    samples' ids, int64 (n,); element: the flat index within a sample; draw: 0..2**32 - 1; out: float32.
    The product and the sum are rounded apart; a result equals `high` only where the sum rounds up to it.
    """
    one_row_each(out, rows)
    low, high = ordered(low, high)
    span = single("high - low", high - low)
    key, draw = word("key", key, bits=64), word("draw", draw, bits=32)
    engine = dispatch.engine(rows, out)
    return engine.uniform(key, rows, low=low, span=span, draw=draw, out=out)


def start_linf(
    key: int, rows: Tensor, x: Tensor, *, eps: float, low: float, high: float, draw: int = 0, out: Tensor
) -> Tensor:
    """clip(x + eps * u, low, high) with u of `uniform` in [-1, 1): a random start that can be replayed."""
    agree(out, x=x)
    one_row_each(out, rows)
    eps, low, high = limits(eps, low, high)
    key, draw = word("key", key, bits=64), word("draw", draw, bits=32)
    engine = dispatch.engine(x, rows, out)
    return engine.start_linf(key, rows, x, eps=eps, low=low, high=high, draw=draw, out=out)


def apgd_linf(
    x_adv: Tensor,
    before: Tensor,
    gradient: Tensor,
    x: Tensor,
    *,
    size: Tensor,
    share: float,
    eps: float,
    low: float,
    high: float,
    out: Tensor,
) -> Tensor:
    """Auto-PGD's move (Croce and Hein 2020, arXiv 2003.01690, equation 3) from x_adv, which came from `before`.

    z = P(x_adv + size * sign(gradient)), then P(x_adv + share (z - x_adv) + (1 - share) (x_adv - before)), with P as in
    `project_linf` and sign(NaN) = 0. size: (n,), a step for each sample. out may be x_adv or `before`.
    """
    agree(out, x_adv=x_adv, before=before, gradient=gradient, x=x)
    numbers_fit(out, size=size)
    share, rest = single("share", share), single("1 - share", 1 - share)
    eps, low, high = limits(eps, low, high)
    ball = {"eps": eps, "low": low, "high": high}
    engine = dispatch.engine(x_adv, before, gradient, x, size, out)
    return engine.apgd_linf(x_adv, before, gradient, x, size=size, share=share, rest=rest, **ball, out=out)


def keep_best(
    x_adv: Tensor, gradient: Tensor, loss: Tensor, *, best: Tensor, best_gradient: Tensor, best_loss: Tensor
) -> Tensor:
    """Writes point, gradient and loss of each sample whose loss is above its best one so far; `best_loss`.

    loss, best_loss: (n,). A loss of NaN counts as infinite, so that no network hides behind it. The others' rows are
    neither read nor written by the compiled engines.
    """
    agree(best, x_adv=x_adv, gradient=gradient, best_gradient=best_gradient)
    numbers_fit(best, loss=loss, best_loss=best_loss)
    engine = dispatch.engine(x_adv, gradient, loss, best, best_gradient, best_loss)
    return engine.keep_best(x_adv, gradient, loss, best=best, best_gradient=best_gradient, best_loss=best_loss)


def margin(logits: Tensor, y: Tensor, *, value: Tensor, gradient: Tensor) -> Tensor:
    """max over j != y of z_j - z_y into `value`, (n,), and its gradient into `gradient`, (n, classes).

    logits: (n, classes), at least 2 classes; y: int64 (n,). Among equal logits the first class counts. A row whose
    label is none of the classes, or that has a logit which is not finite, gets NaN and a gradient of zeros.
    """
    logits_fit(logits, value, gradient, fewest=2, y=y)
    return dispatch.engine(logits, y, value, gradient).margin(logits, y, value=value, gradient=gradient)


def dlr(logits: Tensor, y: Tensor, *, value: Tensor, gradient: Tensor) -> Tensor:
    """The margin over z_(1) - z_(3) + 1e-12, the gap between first and third logit, and its gradient; else as `margin`.

    At least 3 classes (Croce and Hein 2020, arXiv 2003.01690, equation 6).
    """
    logits_fit(logits, value, gradient, fewest=3, y=y)
    return dispatch.engine(logits, y, value, gradient).dlr(logits, y, value=value, gradient=gradient)


def targeted_dlr(logits: Tensor, y: Tensor, target: Tensor, *, value: Tensor, gradient: Tensor) -> Tensor:
    """(z_target - z_y) over z_(1) - (z_(3) + z_(4)) / 2 + 1e-12, and its gradient; else as `margin`.

    target: int64 (n,), treated as y is. At least 4 classes (Croce and Hein 2020, equation 7).
    """
    logits_fit(logits, value, gradient, fewest=4, y=y, target=target)
    engine = dispatch.engine(logits, y, target, value, gradient)
    return engine.targeted_dlr(logits, y, target, value=value, gradient=gradient)


def follower(layers: Sequence[Layer], count: int) -> "Chain":
    """What follows changes of few pixels through `layers`, for so many samples; by the numba engine alone."""
    from harden.kernels.chain import Chain

    return Chain(layers, count)
