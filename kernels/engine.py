"""What an engine offers. Arguments are checked and rounded before they come to it."""

from typing import Protocol

from torch import Tensor


class Engine(Protocol):
    """A module of kernels. Its functions are those of `harden.kernels`, which describes them."""

    def step_linf(
        self,
        x_adv: Tensor,
        gradient: Tensor,
        x: Tensor,
        *,
        step: float,
        eps: float,
        low: float,
        high: float,
        out: Tensor,
    ) -> Tensor: ...

    def step_l2(
        self,
        x_adv: Tensor,
        gradient: Tensor,
        x: Tensor,
        *,
        step: float,
        eps: float,
        low: float,
        high: float,
        out: Tensor,
    ) -> Tensor: ...

    def step_l1(
        self,
        x_adv: Tensor,
        gradient: Tensor,
        x: Tensor,
        *,
        step: float,
        eps: float,
        low: float,
        high: float,
        count: int,
        out: Tensor,
    ) -> Tensor: ...

    def project_linf(self, x_adv: Tensor, x: Tensor, *, eps: float, low: float, high: float, out: Tensor) -> Tensor: ...

    def project_l2(self, x_adv: Tensor, x: Tensor, *, eps: float, low: float, high: float, out: Tensor) -> Tensor: ...

    def project_l1(self, x_adv: Tensor, x: Tensor, *, eps: float, low: float, high: float, out: Tensor) -> Tensor: ...

    def onto_plane(
        self, point: Tensor, normal: Tensor, offset: Tensor, *, euclidean: bool, low: float, high: float, out: Tensor
    ) -> Tensor: ...

    def paste(
        self,
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
    ) -> Tensor: ...

    def take_back(self, x_adv: Tensor, corner: Tensor, kept: Tensor, *, side: int, old: Tensor) -> Tensor: ...

    def uniform(self, key: int, rows: Tensor, *, low: float, span: float, draw: int, out: Tensor) -> Tensor: ...

    def start_linf(
        self, key: int, rows: Tensor, x: Tensor, *, eps: float, low: float, high: float, draw: int, out: Tensor
    ) -> Tensor: ...

    def apgd_linf(
        self,
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
    ) -> Tensor: ...

    def keep_best(
        self, x_adv: Tensor, gradient: Tensor, loss: Tensor, *, best: Tensor, best_gradient: Tensor, best_loss: Tensor
    ) -> Tensor: ...

    def margin(self, logits: Tensor, y: Tensor, *, value: Tensor, gradient: Tensor) -> Tensor: ...

    def dlr(self, logits: Tensor, y: Tensor, *, value: Tensor, gradient: Tensor) -> Tensor: ...

    def targeted_dlr(self, logits: Tensor, y: Tensor, target: Tensor, *, value: Tensor, gradient: Tensor) -> Tensor: ...
