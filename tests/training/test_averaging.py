"""The moving average of weights, against its closed form."""

import torch
from torch import nn

from harden.training.averaging import Average


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).train()


def moved(model: nn.Module, seed: int) -> None:
    """A step of learning: other weights, other batch statistics."""
    generator = torch.Generator().manual_seed(seed)
    model(torch.randn(8, 3, generator=generator))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))


def test_decay_zero_makes_an_exact_copy_batch_statistics_and_counters_included() -> None:
    model = network()
    average = Average(model)
    moved(model, 1)
    average.update(model, 0.0)
    torch.testing.assert_close(dict(average.model.state_dict()), dict(model.state_dict()), rtol=0, atol=0)


def test_weights_and_batch_statistics_follow_the_closed_form() -> None:
    model = network()
    average = Average(model)
    history = [{k: v.clone().double() for k, v in model.state_dict().items()}]
    for seed in range(4):
        moved(model, seed)
        average.update(model, 0.75)
        history.append({k: v.clone().double() for k, v in model.state_dict().items()})
    weights = [0.75**4, *(0.25 * 0.75 ** (3 - i) for i in range(4))]
    for name, value in average.model.state_dict().items():
        if value.is_floating_point():
            wanted = sum(w * past[name] for w, past in zip(weights, history, strict=True))
            torch.testing.assert_close(value.double(), wanted, rtol=1e-5, atol=1e-6)
    assert int(average.model[1].num_batches_tracked) == 4  # type: ignore[index]


def test_the_average_is_a_copy_that_wants_no_gradient_and_leaves_the_model_alone() -> None:
    model = network()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    average = Average(model)
    moved(average.model, 3)
    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0)
    assert not any(p.requires_grad for p in average.model.parameters())
    assert all(p.requires_grad for p in model.parameters())
    average.update(model, 0.5)
    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0)


def test_an_average_of_what_does_not_move_stays() -> None:
    model = network()
    average = Average(model)
    for _ in range(3):
        average.update(model, 0.9)
    torch.testing.assert_close(dict(average.model.state_dict()), dict(model.state_dict()), rtol=0, atol=1e-7)
