"""What is saved comes back: same outputs, same card, same bytes, and no code from the file."""

import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from harden.errors import Untrusted, WeightsError
from harden.models import (
    Activation,
    Card,
    Choice,
    Classifier,
    Cnn,
    CnnSmall,
    CustomModel,
    Mlp,
    PreActResNet18,
    WideResNet,
    arguments_of,
    build,
    load,
    load_into,
    name_of,
    read,
    save,
)
from harden.models.container import encode
from harden.seeds import stream

QUICK: list[Choice] = [
    Mlp(hidden=[8]),
    CnnSmall(channels=[2, 3], hidden=5),
    Cnn(channels=[2, 3], hidden=5),
    PreActResNet18(width=2, activation=Activation.SILU),
    WideResNet(depth=10, widen=1),
]


def made(choice: Choice, *, classes: int = 3, seed: int = 0) -> Classifier:
    return build(choice, shape=(1, 8, 8), classes=classes, mean=[0.3], std=[0.2], rng=stream(seed, "model"))


def card_of(choice: Choice) -> Card:
    return Card(
        model=name_of(choice),
        arguments=arguments_of(choice),
        shape=(1, 8, 8),
        classes=("zero", "one", "zwei \u00e9"),
        data={"name": "digits"},
        data_name="Digits",
        data_digest="ab" * 32,
        threat={"norm": "linf", "eps": "8/255", "low": 0.0, "high": 1.0},
        training={"objective": "madry", "seed": 3},
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.safetensors"


@pytest.mark.parametrize("choice", QUICK, ids=name_of)
def test_a_loaded_model_says_what_the_saved_one_says(choice: Choice, path: Path) -> None:
    model, card = made(choice), card_of(choice)
    save(path, model, card)
    loaded, its_card = load(path)
    x = torch.rand(4, 1, 8, 8)
    torch.testing.assert_close(loaded(x), model.eval()(x), rtol=0, atol=0)
    assert its_card == card
    assert not loaded.training


def test_batch_statistics_come_back(path: Path) -> None:
    model = made(PreActResNet18(width=2))
    model.train()(torch.rand(16, 1, 8, 8))
    save(path, model, card_of(PreActResNet18(width=2)))
    torch.testing.assert_close(load(path)[0].state_dict(), model.state_dict(), rtol=0, atol=0)


def test_a_loaded_model_can_be_trained_on(path: Path) -> None:
    save(path, made(CnnSmall()), card_of(CnnSmall()))
    model, _ = load(path)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    model.train()(torch.rand(4, 1, 8, 8)).square().sum().backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    changed = [bool((new != old).any()) for new, old in zip(model.parameters(), before, strict=True)]
    assert all(changed)


def test_loading_leaves_the_global_generator_alone(path: Path) -> None:
    save(path, made(PreActResNet18(width=2)), card_of(PreActResNet18(width=2)))
    state = torch.get_rng_state()
    load(path)
    torch.testing.assert_close(torch.get_rng_state(), state, rtol=0, atol=0)


def test_equal_models_and_cards_give_equal_bytes(tmp_path: Path) -> None:
    """Often enough that the library's changing order of metadata would show."""
    digests = {save(tmp_path / "w", made(Mlp(hidden=[4])), card_of(Mlp(hidden=[4]))) for _ in range(12)}
    assert len(digests) == 1


def test_a_saved_file_gives_the_same_bytes_after_a_round_trip(tmp_path: Path) -> None:
    first = save(tmp_path / "first", made(CnnSmall()), card_of(CnnSmall()))
    assert save(tmp_path / "second", *load(tmp_path / "first")) == first


def test_the_digest_is_that_of_the_file(path: Path) -> None:
    assert save(path, made(Mlp()), card_of(Mlp())) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_other_weights_or_another_card_give_another_digest(path: Path) -> None:
    digests = {
        save(path, made(Mlp()), card_of(Mlp())),
        save(path, made(Mlp(), seed=1), card_of(Mlp())),
        save(path, made(Mlp()), replace(card_of(Mlp()), training={})),
    }
    assert len(digests) == 3


def test_the_memory_layout_of_a_model_does_not_reach_the_file(tmp_path: Path) -> None:
    plain, card = made(CnnSmall()), card_of(CnnSmall())
    first = save(tmp_path / "plain", plain, card)
    second = save(tmp_path / "last", plain.to(memory_format=torch.channels_last), card)  # type: ignore[call-overload]
    assert first == second


def test_other_programs_can_open_the_file(path: Path) -> None:
    model = made(Mlp())
    save(path, model, card_of(Mlp()))
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["format"] == "pt"
        assert json.loads(file.metadata()["harden"])["data_name"] == "Digits"
        for name, tensor in model.state_dict().items():
            torch.testing.assert_close(file.get_tensor(name), tensor, rtol=0, atol=0)


def test_saving_replaces_the_file_and_leaves_nothing_beside_it(path: Path) -> None:
    path.write_bytes(b"old")
    save(path, made(Mlp()), card_of(Mlp()))
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    load(path)


def test_saving_changes_no_weight_and_no_mode(path: Path) -> None:
    model = made(Mlp())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save(path, model, card_of(Mlp()))
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert model.training


def test_weights_that_are_not_finite_are_not_saved(path: Path) -> None:
    model = made(Mlp(hidden=[]))
    with torch.no_grad():
        model.get_parameter("net.1.bias")[1] = torch.inf
    with pytest.raises(WeightsError, match=r"tensor 'net\.1\.bias' holds values that are not finite"):
        save(path, model, card_of(Mlp(hidden=[])))
    assert not path.exists()


def test_tied_weights_are_saved(path: Path) -> None:
    layer = nn.Linear(64, 64)
    model = Classifier(nn.Sequential(nn.Flatten(), layer, layer), mean=[0.0], std=[1.0])
    save(path, model, card_of(CustomModel()))
    tensors, _ = read(path)
    torch.testing.assert_close(tensors["net.1.weight"], tensors["net.2.weight"], rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_loaded_into_single(dtype: torch.dtype, path: Path) -> None:
    model = made(Mlp(hidden=[4])).to(dtype)
    save(path, model, card_of(Mlp(hidden=[4])))
    loaded, _ = load(path)
    for name, tensor in loaded.state_dict().items():
        torch.testing.assert_close(tensor, model.state_dict()[name].float(), rtol=0, atol=0)
    assert read(path)[0]["net.1.weight"].dtype == dtype


def test_load_into_copies_weights_and_statistics_and_keeps_the_mode(path: Path) -> None:
    saved, target = made(CnnSmall()), made(CnnSmall(), seed=1)
    save(path, saved, card_of(CnnSmall()))
    parameters = list(target.parameters())
    assert load_into(target, path) == card_of(CnnSmall())
    torch.testing.assert_close(target.state_dict(), saved.state_dict(), rtol=0, atol=0)
    assert target.training
    assert all(new is old for new, old in zip(target.parameters(), parameters, strict=True))


def test_another_architecture_is_refused_with_the_first_tensor_that_differs(path: Path) -> None:
    save(path, made(Mlp(hidden=[8])), card_of(Mlp(hidden=[8])))
    message = (
        rf"^{path}: holds weights of model 'mlp' that do not fit: "
        r"tensor net\.1\.weight is float of shape \(8, 64\), wanted float of shape \(9, 64\)$"
    )
    with pytest.raises(WeightsError, match=message):
        load_into(made(Mlp(hidden=[9])), path)


def test_a_model_that_does_not_fit_is_left_as_it_was(path: Path) -> None:
    target = made(Mlp(hidden=[8]), classes=4)
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    save(path, made(Mlp(hidden=[8]), seed=1), card_of(Mlp(hidden=[8])))
    with pytest.raises(WeightsError, match=r"net\.3\.weight is float of shape \(3, 8\), wanted .* \(4, 8\)"):
        load_into(target, path)
    torch.testing.assert_close(target.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"net.1.bias": None}, r"tensor net\.1\.bias is missing, wanted float of shape \(3,\)"),
        ({"net.9.bias": torch.zeros(3)}, r"tensor 'net\.9\.bias' has no place in the model"),
        (
            {"net.1.bias": torch.zeros(4)},
            r"net\.1\.bias is float of shape \(4,\), wanted float of shape \(3,\)",
        ),
        (
            {"net.1.bias": torch.zeros(3, dtype=torch.int32)},
            r"net\.1\.bias is int32 of shape \(3,\), wanted float",
        ),
    ],
)
def test_tensors_that_are_not_the_cards_are_refused(
    edit: dict[str, torch.Tensor | None], message: str, path: Path
) -> None:
    state = made(Mlp(hidden=[])).state_dict() | edit
    kept = {name: tensor for name, tensor in state.items() if tensor is not None}
    save(path, made(Mlp(hidden=[])), card_of(Mlp(hidden=[])))
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    path.write_bytes(encode(kept, metadata))
    with pytest.raises(WeightsError, match=message):
        load(path)


SOURCE = """
from pathlib import Path
from torch import nn
Path("imported").touch()
def build(shape, classes, width):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.BatchNorm1d(width), nn.Linear(width, classes))
"""


@pytest.fixture
def custom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CustomModel]:
    (tmp_path / "weights_nets.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    yield CustomModel(entry="weights_nets:build", arguments={"width": 6})
    sys.modules.pop("weights_nets", None)


def test_a_custom_model_comes_back_when_its_code_is_given(custom: CustomModel, path: Path) -> None:
    model = made(custom)
    model.train()(torch.rand(8, 1, 8, 8))
    save(path, model, card_of(custom))
    loaded, _ = load(path, custom=custom)
    x = torch.rand(4, 1, 8, 8)
    torch.testing.assert_close(loaded(x), model.eval()(x), rtol=0, atol=0)


def test_a_file_cannot_name_the_code_that_opens_it(custom: CustomModel, path: Path) -> None:
    """An import path out of a stranger's file would run what it likes, as a pickle does."""
    save(path, made(custom), card_of(custom))
    sys.modules.pop("weights_nets")
    Path("imported").unlink()
    with pytest.raises(Untrusted, match=r"needs code of its own, 'weights_nets:build', which would run") as caught:
        load(path)
    assert caught.value.hint.endswith("model=custom model.entry=weights_nets:build")
    assert not Path("imported").exists()


def test_custom_arguments_that_differ_from_the_files_are_refused(custom: CustomModel, path: Path) -> None:
    save(path, made(custom), card_of(custom))
    with pytest.raises(WeightsError, match=r"was written with model\.arguments \{'width': 6\}, got \{\}"):
        load(path, custom=replace(custom, arguments={}))


def test_code_for_a_file_that_needs_none_is_refused(custom: CustomModel, path: Path) -> None:
    save(path, made(Mlp()), card_of(Mlp()))
    with pytest.raises(WeightsError, match="holds model 'mlp', got the code of a custom model"):
        load(path, custom=custom)
