"""What learns: the model, the average that follows it, and the optimiser that moves it."""

import torch
from torch import Tensor, nn

from harden.models import Classifier
from harden.training import checkpoint
from harden.training.averaging import Average
from harden.training.optimisers import Optimiser
from harden.training.schedule import Schedule
from harden.training.team import ALONE, Team, floats


class Learner:
    """`model` is trained; `average.model` follows it. All tensors can be captured and put back to the bit."""

    def __init__(self, model: Classifier, optim: Optimiser, schedule: Schedule) -> None:
        self.model, self.schedule = model, schedule
        self.average = Average(model)
        self.optimiser = optim.over(model)

    def learn(self, loss: Tensor, *, lr: float, step: int, team: Team = ALONE) -> None:
        """One optimiser step down the gradient of `loss`, averaged over the `team`, and one of the average."""
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        loss.backward()  # type: ignore[no-untyped-call]
        if team.size > 1:
            team.average([p.grad for p in self.model.parameters() if p.grad is not None] + floats(self.model))
        if self.schedule.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.schedule.clip)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.average.update(self.model, self.schedule.decay(step) if self.schedule.ema else 0.0)

    @property
    def candidates(self) -> dict[str, nn.Module]:
        """The weights worth validating: the raw ones under "", the averaged ones under "_ema"."""
        averaged = {"_ema": self.average.model} if self.schedule.ema else {}
        return {"": self.model, **averaged}

    @property
    def finite(self) -> bool:
        """Whether all weights are finite; waits for the device."""
        sums = torch.stack([p.detach().sum(dtype=torch.float32) for p in self.model.parameters()])
        return bool(torch.isfinite(sums).all())

    def capture(self) -> checkpoint.Tensors:
        """A copy of every tensor that learning changes."""
        return checkpoint.capture(self.model, self.average.model, self.optimiser)

    def restore(self, tensors: checkpoint.Tensors) -> None:
        """Puts what `capture` took back in place, to the bit."""
        checkpoint.restore(tensors, self.model, self.average.model, self.optimiser)
