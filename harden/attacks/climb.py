"""Auto-PGD's climb: projected gradient ascent that halves its own step (Croce and Hein 2020, arXiv 2003.01690).

For l1 the step is sparse and the halving follows the sparsity (Croce and Hein 2021, arXiv 2103.01208, section 4).
Samples that are broken leave the batch every few steps; none of the others notices.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from harden.attacks.base import Model, fooled, input_gradient
from harden.attacks.norms import wide
from harden.threat import Norm, ThreatModel

Objective = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Logits (n, classes), labels (n,), targets (n,) -> the value to climb, (n,)."""

LEAVE_EVERY = 5
"""Steps between two looks at who may leave, the only host syncs."""

MOMENTUM = 0.75


@dataclass
class State:
    """What a climb knows of each sample it still works on; the first axis of every tensor is the sample's."""

    place: Tensor  # where the sample stands in the result
    x: Tensor
    y: Tensor
    target: Tensor
    x_adv: Tensor
    before: Tensor  # the iterate before x_adv
    gradient: Tensor
    loss: Tensor
    best: Tensor  # the iterate of highest loss, its gradient and its loss
    best_gradient: Tensor
    best_loss: Tensor
    size: Tensor  # the step's length
    rises: Tensor  # steps since the last checkpoint that raised the loss
    best_then: Tensor  # best_loss at the last checkpoint
    shrunk: Tensor  # whether the step was halved there
    density: Tensor  # l1: the share of pixels that a step moves
    support: Tensor  # l1: pixels changed at the last checkpoint

    def take(self, rows: Tensor) -> "State":
        """The state of those samples alone."""
        return State(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def back_to_best(self, rows: Tensor) -> None:
        """Sends the samples where `rows` is set back to their best iterate."""
        mask = wide(rows, self.x)
        self.x_adv = torch.where(mask, self.best, self.x_adv)
        self.gradient = torch.where(mask, self.best_gradient, self.gradient)


def climb(
    model: Model,
    x: Tensor,
    y: Tensor,
    target: Tensor,
    start: Tensor,
    objective: Objective,
    threat: ThreatModel,
    *,
    steps: int,
    rho: float,
    leave: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """From `start`: a misclassified iterate of each sample, else its last; whether it is one, (n,); the best by loss.

    x, start: (n, *pixel); y, target: (n,). Not `leave`: broken samples climb on too. steps + 1 forward passes and
    `steps` backward ones for each sample that withstands.
    """
    result, best = start.clone(), start.clone()
    broken = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    state, wrong = _begin(model, x, y, target, start, objective, threat)
    checks = set(checkpoints(steps)) if threat.norm is not Norm.l1 else set(range(0, steps, max(steps * 4 // 100, 1)))
    last_check = 0
    for step in range(steps):
        _keep(result, broken, state, wrong)
        if leave and step % LEAVE_EVERY == 0 and bool(broken[state.place].any()):
            best[state.place] = state.best
            state = state.take((~broken[state.place]).nonzero().squeeze(1))
            if not len(state.place):
                return result, broken, best
        if step in checks and step > 0:
            _adapt(state, threat, step - last_check, rho)
            last_check = step
        _move(state, threat, is_first=step == 0)
        wrong = _look(model, state, objective, is_last=step == steps - 1)
    _keep(result, broken, state, wrong)
    best[state.place] = state.best
    return torch.where(wide(broken, result), result, best), broken, best


def _keep(result: Tensor, broken: Tensor, state: State, wrong: Tensor) -> None:
    """Writes the iterates where `wrong` is set into the result; by place, for a mask as an index is a host sync."""
    place = state.place
    result[place] = torch.where(wide(wrong, state.x_adv), state.x_adv, result[place])
    broken[place] = broken[place] | wrong


def checkpoints(steps: int) -> Iterator[int]:
    """The steps before which halving is considered: 22 % of all, then 3 % less each time, down to 6 %."""
    period, smallest, less = (max(int(share * steps), 1) for share in (0.22, 0.06, 0.03))
    at = period
    while at < steps:
        yield at
        period = max(period - less, smallest)
        at += period


def _begin(
    model: Model, x: Tensor, y: Tensor, target: Tensor, start: Tensor, objective: Objective, threat: ThreatModel
) -> tuple[State, Tensor]:
    n, like = len(x), x.new_empty(len(x))
    first = threat.radius * (1.0 if threat.norm is Norm.l1 else 2.0)
    changed = (start != x).flatten(1).sum(dim=1).float()
    pixels = x[0].numel()
    at_x = changed == 0
    state = State(
        place=torch.arange(n, device=x.device),
        x=x,
        y=y,
        target=target,
        x_adv=start,
        before=start,
        gradient=start,
        loss=torch.full_like(like, -torch.inf),
        best=start,
        best_gradient=start,
        best_loss=torch.full_like(like, -torch.inf),
        size=torch.full_like(like, first),
        rises=torch.zeros_like(like),
        best_then=torch.full_like(like, -torch.inf),
        shrunk=torch.ones(n, dtype=torch.bool, device=x.device),
        density=torch.where(at_x, torch.full_like(like, 0.2), changed / pixels / 1.5),
        support=torch.where(at_x, torch.full_like(like, float(pixels)), changed),
    )
    wrong = _look(model, state, objective, is_last=False)
    state.best_then = state.best_loss
    state.rises = torch.zeros_like(like)
    return state, wrong


def _look(model: Model, state: State, objective: Objective, *, is_last: bool) -> Tensor:
    """Runs the model on the iterates, notes loss, gradient and best; whether each is misclassified, (n,)."""
    if is_last:
        with torch.no_grad():
            logits = model(state.x_adv)
        gradient = state.gradient
    else:
        gradient, logits = input_gradient(model, state.x_adv, lambda z: objective(z, state.y, state.target))
    loss = objective(logits, state.y, state.target).nan_to_num(nan=torch.inf)
    state.gradient = gradient
    state.rises = state.rises + (loss > state.loss)
    state.loss = loss
    better = loss > state.best_loss
    mask = wide(better, state.x)
    state.best = torch.where(mask, state.x_adv, state.best)
    state.best_gradient = torch.where(mask, gradient, state.best_gradient)
    state.best_loss = torch.where(better, loss, state.best_loss)
    return fooled(logits, state.y)


def _move(state: State, threat: ThreatModel, *, is_first: bool) -> None:
    """One step: along the gradient, projected; then, but for l1, with momentum, projected again (equation 3)."""
    size = wide(state.size, state.x)
    z = threat.project(state.x_adv + size * _direction(state, threat), state.x)
    if threat.norm is not Norm.l1:
        share = 1.0 if is_first else MOMENTUM
        z = threat.project(
            state.x_adv + share * (z - state.x_adv) + (1 - share) * (state.x_adv - state.before), state.x
        )
    state.before, state.x_adv = state.x_adv, z


def _direction(state: State, threat: ThreatModel) -> Tensor:
    gradient, norm = state.gradient, threat.norm
    if norm is Norm.linf:
        return gradient.sign()
    if norm is Norm.l2:
        length = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
        return gradient / wide(length.clamp_min(torch.finfo(gradient.dtype).tiny), gradient)
    stuck = ((gradient > 0) & (state.x_adv >= threat.high)) | ((gradient < 0) & (state.x_adv <= threat.low))
    return _sparse(gradient.masked_fill(stuck, 0), state.density)


def _sparse(gradient: Tensor, density: Tensor) -> Tensor:
    """The signs of the largest entries, a share `density` of them, over their number (section 4.1).

    Differs from the paper's code: pixels that stand at the edge they are pushed to are passed over.
    """
    size = gradient.abs().flatten(1)
    pixels = size.shape[1]
    count = (density * pixels).long().clamp(1, pixels)  # rounded down, else two pixels would never become one
    rank = pixels - count
    least = size.sort(dim=1).values.gather(1, rank[:, None])
    signs = torch.where(size >= least, gradient.flatten(1).sign(), torch.zeros_like(size))
    return (signs / signs.abs().sum(dim=1, keepdim=True).clamp_min(1)).view_as(gradient)


def _adapt(state: State, threat: ThreatModel, period: int, rho: float) -> None:
    if threat.norm is Norm.l1:
        _adapt_sparsity(state, threat)
        return
    stuck = ~state.shrunk & (state.best_then >= state.best_loss)
    state.shrunk = (state.rises <= rho * period) | stuck
    state.size = torch.where(state.shrunk, state.size / 2, state.size)
    state.best_then = state.best_loss
    state.rises = torch.zeros_like(state.rises)
    state.back_to_best(state.shrunk)


def _adapt_sparsity(state: State, threat: ThreatModel) -> None:
    """A sparser best point: large steps again, from there; else smaller ones, to a tenth of eps (section 4.2)."""
    support = (state.best != state.x).flatten(1).sum(dim=1).float()
    sparser = support < 0.95 * state.support
    state.density = support / state.x[0].numel() / 1.5
    eps = threat.radius
    state.size = torch.where(sparser, torch.full_like(state.size, eps), (state.size / 1.5).clamp(eps / 10, eps))
    state.support = support
    state.back_to_best(sparser)


def enlarged(threat: ThreatModel, factor: int) -> ThreatModel:
    """The same threat with `factor` times the radius, on the way to its own."""
    return threat if factor == 1 else replace(threat, eps=repr(threat.radius * factor))
