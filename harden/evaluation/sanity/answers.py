"""Whether the model answers the same each time, in the mode and the precision that the evaluation claims."""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from harden.attacks import frozen
from harden.evaluation.inference import at_batch, judging_logits
from harden.evaluation.judge import exact
from harden.evaluation.sanity.rows import Row, Subject, Verdict, counted, row


def same_answer(subject: Subject) -> Row:
    """9: five passes give equal logits; batches of 1, 64 and the recorded size the same predictions.

    Of a model that answers at random, averages of five times other draws give the same predictions but for 1 %.
    """
    if subject.eot > 1:
        return _same_average(subject)
    first = subject.logits(subject.x)
    unequal = sum(not torch.equal(subject.logits(subject.x), first) for _ in range(4))
    few = subject.x[:64]
    predicted = first.argmax(dim=1)
    alone = torch.cat([at_batch(subject.model, 1)(one[None]) for one in few]).argmax(dim=1)
    moved = torch.cat(
        [alone != predicted[: len(few)], at_batch(subject.model, 64)(subject.x).argmax(dim=1) != predicted]
    )
    good = unequal == 0 and int(moved.sum()) <= int(0.001 * len(moved))
    figure = f"{unequal} of 4 repetitions differ; {counted(moved)} predictions move with the batch size"
    return row(9, "same answer", good, figure, "a model that answers at random needs EoT: say eot=20")


def _same_average(subject: Subject) -> Row:
    first = subject.logits(subject.x).argmax(dim=1)
    others = (judging_logits(subject.model, 1, subject.eot, draws) for draws in range(1, 5))
    moved = torch.cat([logits(subject.x).argmax(dim=1) != first for logits in others])
    figure = f"{counted(moved)} predictions move with the draws, each the mean of {subject.eot} passes"
    good = int(moved.sum()) <= max(int(0.01 * len(moved)), 1)
    return row(9, "same answer", good, figure, "with so few passes the average is still at random: raise eot")


def modes_are_right(subject: Subject) -> Row:
    """10: every part is in eval mode, a pass changes no buffer, and batch norms have seen training batches."""
    if not isinstance(subject.model, nn.Module):
        return Row(10, "modes", Verdict.not_applicable, "", "the model is a plain function")
    model = subject.model
    training = {name for name, module in model.named_modules() if module.training} | _training_inside(model, subject.x)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with frozen(model), torch.no_grad():
        model(subject.x)
    changed = [name for name, buffer in model.named_buffers() if not torch.equal(buffer, before[name])]
    fresh = [name for name, module in _norms(model) if _has_seen_nothing(module)]
    problems = [
        f"{len(training)} parts in training mode" * bool(training),
        f"{len(changed)} buffers changed by a pass" * bool(changed),
        f"{len(fresh)} batch norms without statistics of training" * bool(fresh),
    ]
    figure = "; ".join(filter(None, problems)) or f"{len(before)} buffers unchanged, all parts in eval mode"
    reason = "batch statistics that move, or were never learned, make every figure depend on its neighbours"
    return row(10, "modes", not any(problems), figure, reason)


def precision_is_single(subject: Subject) -> Row:
    """11: weights and activations are float32 without TF32 or autocast; float64 gives the same verdicts."""
    if not isinstance(subject.model, nn.Module):
        return Row(11, "precision", Verdict.not_applicable, "", "the model is a plain function")
    kinds = _kinds_inside(subject.model, subject.x[:8])
    with frozen(subject.model):
        exactly = copy.deepcopy(subject.model).double()
    try:
        with frozen(exactly), torch.no_grad():
            wide = exactly(subject.x.double()).argmax(dim=1)
        differ = wide != subject.seen(subject.x).argmax(dim=1)
        differ &= subject.eot == 1  # other draws in float64
    except RuntimeError:
        differ = torch.ones_like(subject.clean)
    low = sorted(str(kind).removeprefix("torch.") for kind in kinds - {torch.float32, torch.float64})
    figure = f"{counted(differ)} verdicts differ in float64" + f"; computes in {', '.join(low)}" * bool(low)
    good = not low and int(differ.sum()) <= max(int(0.005 * len(differ)), 1)
    return row(11, "precision", good, figure, "in half precision the softmax underflows and gradients vanish")


def _training_inside(model: nn.Module, x: Tensor) -> set[str]:
    """The parts that are in training mode while the model runs, though it was put into eval mode."""
    seen: set[str] = set()
    hooks = [
        module.register_forward_pre_hook(lambda m, _, name=name: seen.add(name) if m.training else None)
        for name, module in model.named_modules()
    ]
    try:
        with frozen(model), torch.no_grad():
            model(x[:8])
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def _kinds_inside(model: nn.Module, x: Tensor) -> set[torch.dtype]:
    """The floating types of parameters and of what the parts hand on."""
    kinds = {parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()}

    def note(_module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.is_floating_point():
            kinds.add(output.dtype)

    hooks = [module.register_forward_hook(note) for module in model.modules()]
    try:
        with exact(), frozen(model), torch.no_grad():
            model(x)
    finally:
        for hook in hooks:
            hook.remove()
    return kinds


def _norms(model: nn.Module) -> Iterator[tuple[str, _BatchNorm]]:
    yield from ((name, one) for name, one in model.named_modules() if isinstance(one, _BatchNorm))


def _has_seen_nothing(norm: _BatchNorm) -> bool:
    """Whether the running statistics are those of a fresh layer."""
    if norm.running_mean is None or norm.running_var is None:
        return True
    return bool((norm.running_mean == 0).all()) and bool((norm.running_var == 1).all())
