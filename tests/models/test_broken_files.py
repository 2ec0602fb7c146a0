"""Every file that is not a whole weights file of harden is refused: one line, the path, and the reason."""

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from harden.errors import Untrusted, WeightsError
from harden.models import Card, Mlp, arguments_of, build, load, load_into, name_of, read, save
from harden.models.card import FIELDS, FORMAT
from harden.models.container import decode, encode
from harden.seeds import stream

CHOICE = Mlp(hidden=[])
CARD = Card(
    model=name_of(CHOICE),
    arguments=arguments_of(CHOICE),
    shape=(1, 2, 2),
    classes=("cat", "dog"),
    data={"name": "synthetic"},
    data_name="Synthetic",
    data_digest="00",
)
MODEL = build(CHOICE, shape=(1, 2, 2), classes=2, mean=[0.0], std=[1.0], rng=stream(0, "model"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A good weights file, for a test to spoil."""
    path = tmp_path / "weights.safetensors"
    save(path, MODEL, CARD)
    return path


def refusal(path: Path, error: type[Exception] = WeightsError) -> str:
    """The message with which all ways to open `path` refuse it, less the path."""
    messages = set()
    for door in (read, load, lambda path: load_into(MODEL, path)):
        with pytest.raises(error) as caught:
            door(path)
        messages.add(str(caught.value))
    assert len(messages) == 1
    (message,) = messages
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def recarded(path: Path, edit: Mapping[str, Any], *, without: str = "") -> None:
    """Writes the good file again with an edited card."""
    tensors, metadata = decode(path)
    card = json.loads(metadata["harden"]) | edit
    card.pop(without, None)
    path.write_bytes(encode(tensors, {"harden": json.dumps(card)}))


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.safetensors") == "there is no such file"


def test_a_folder_is_told(tmp_path: Path) -> None:
    assert refusal(tmp_path) == "is a folder, wanted a safetensors file"


def test_an_empty_file_is_told(path: Path) -> None:
    path.write_bytes(b"")
    assert refusal(path) == "is empty, wanted a safetensors file"


@pytest.mark.parametrize("size", [1, 7, 8])
def test_a_file_cut_within_its_first_bytes_is_told(size: int, path: Path) -> None:
    path.write_bytes(path.read_bytes()[:size])
    assert refusal(path) == f"is cut off: {size} bytes are shorter than any header"


@pytest.mark.parametrize("size", [9, 100, 300])
def test_a_file_cut_within_its_header_is_told_with_both_sizes(size: int, path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:size])
    header = 8 + int.from_bytes(data[:8], "little")
    assert refusal(path) == f"is cut off: {size} bytes, its header alone takes {header}"


@pytest.mark.parametrize("lost", [1, 4, 30])
def test_a_truncated_file_is_refused_with_both_sizes(lost: int, path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-lost])
    assert refusal(path) == f"is cut off: {len(data) - lost} of {len(data)} bytes"


def test_a_file_with_bytes_behind_its_end_is_refused(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")
    assert refusal(path).startswith("is damaged: ")


def test_no_cut_of_a_file_is_accepted(path: Path) -> None:
    data = path.read_bytes()
    for size in range(0, len(data), 13):
        path.write_bytes(data[:size])
        with pytest.raises(WeightsError):
            read(path)


def test_no_flipped_header_byte_ends_in_anything_but_a_refusal_or_a_sound_model(path: Path) -> None:
    """A flip inside a free text still makes a card; everything else has to be noticed, and by harden."""
    data = path.read_bytes()
    refusals: list[str] = []
    for position in range(8 + int.from_bytes(data[:8], "little")):
        flipped = bytearray(data)
        flipped[position] ^= 0x04
        path.write_bytes(flipped)
        try:
            model, _ = load(path)
            assert model(torch.zeros(1, 1, 2, 2)).isfinite().all()
        except (WeightsError, Untrusted) as error:
            refusals.append(error.message)
    assert len(refusals) > position / 2
    assert not [message for message in refusals if "\n" in message]


def test_a_flipped_brace_is_told(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[8] ^= 0x01
    path.write_bytes(data)
    assert refusal(path) == "is not a safetensors file"


@pytest.mark.parametrize(
    "junk", [b"GGUF\x03\x00\x00\x00\x00\x00\x00\x00", b"\x08\x07\x12\x07pytorch", b"hello, world", b"\0" * 64]
)
def test_other_formats_are_not_safetensors_files(junk: bytes, path: Path) -> None:
    path.write_bytes(junk)
    assert refusal(path) == "is not a safetensors file"


class Bomb:
    """A pickle that leaves a file behind when somebody loads it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_a_pickle_is_refused_and_not_run(path: Path) -> None:
    mark = path.parent / "ran"
    path.write_bytes(pickle.dumps(Bomb(mark)))
    assert refusal(path, Untrusted).startswith("is a pickle, which can run code when opened")
    assert not mark.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_what_torch_save_writes_is_refused_as_a_pickle(zipped: bool, path: Path) -> None:
    torch.save(MODEL.state_dict(), path, _use_new_zipfile_serialization=zipped)
    assert refusal(path, Untrusted).startswith("is a pickle, which can run code when opened")


@pytest.mark.parametrize("start", [b"\x80\x02", b"PK"])
def test_a_header_whose_length_looks_like_a_pickle_is_still_read(start: bytes, path: Path) -> None:
    """640 and 19280 bytes of header are lawful, and begin as a pickle and as a zip do."""
    size = int.from_bytes(start, "little")
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    path.write_bytes(size.to_bytes(8, "little") + data[8:end].ljust(size) + data[end:])
    assert path.read_bytes().startswith(start)
    torch.testing.assert_close(load(path)[0].state_dict(), MODEL.state_dict(), rtol=0, atol=0)


def test_safetensors_of_other_programs_have_no_card(path: Path) -> None:
    save_file(MODEL.state_dict(), path, metadata={"format": "pt"})
    assert refusal(path) == "has no card, so it does not say which model it holds"
    save_file(MODEL.state_dict(), path)
    assert refusal(path) == "has no card, so it does not say which model it holds"


def test_the_hint_for_a_file_of_another_program_says_what_to_do(path: Path) -> None:
    save_file(MODEL.state_dict(), path)
    with pytest.raises(WeightsError) as caught:
        load(path)
    assert "harden.models.save" in caught.value.hint


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float8_e5m2])
def test_weights_that_are_not_finite_are_refused(value: float, dtype: torch.dtype, path: Path) -> None:
    tensors: dict[str, Tensor] = {**MODEL.state_dict(), "net.1.bias": torch.tensor([0.0, value]).to(dtype)}
    path.write_bytes(encode(tensors, decode(path)[1]))
    assert refusal(path) == "tensor 'net.1.bias' holds values that are not finite"


def test_a_number_type_that_torch_lacks_is_told(path: Path) -> None:
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header["net.1.bias"] |= {"dtype": "F4", "shape": [16]}
    spoiled = json.dumps(header).encode()
    path.write_bytes(len(spoiled).to_bytes(8, "little") + spoiled + data[8 + size :])
    assert refusal(path) == "holds numbers of type 'F4', which torch cannot read"


def test_a_card_of_a_later_format_is_told_with_both_formats(path: Path) -> None:
    recarded(path, {"format": FORMAT + 1, "harden": "9.1.0", "new": 1}, without="shape")
    assert refusal(path) == f"its card has format {FORMAT + 1}, this harden reads format {FORMAT}"
    with pytest.raises(WeightsError) as caught:
        read(path)
    assert "written by harden 9.1.0" in caught.value.hint


@pytest.mark.parametrize("name", FIELDS)
def test_a_card_that_lacks_a_field_is_refused(name: str, path: Path) -> None:
    recarded(path, {}, without=name)
    assert refusal(path) == f"its card lacks '{name}'"


def test_a_card_with_an_unknown_field_is_refused(path: Path) -> None:
    recarded(path, {"colour": "red"})
    assert refusal(path) == "its card has the unknown field 'colour'"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("format", True),
        ("format", "1"),
        ("format", 0),
        ("model", None),
        ("arguments", []),
        ("shape", [1, 2]),
        ("shape", [1, 2, 0]),
        ("shape", [1, 2, 2.0]),
        ("shape", "122"),
        ("classes", []),
        ("classes", ["cat", 1]),
        ("classes", "cat"),
        ("data", "mnist"),
        ("data_name", 1),
        ("data_digest", None),
        ("threat", "linf"),
        ("training", None),
        ("harden", 1.0),
    ],
)
def test_a_card_field_of_the_wrong_kind_is_refused(name: str, value: Any, path: Path) -> None:
    recarded(path, {name: value})
    assert refusal(path).startswith(f"its card has a wrong '{name}', wanted ")


@pytest.mark.parametrize(
    ("text", "reason"),
    [("{", "is not JSON"), ("[" * 99_999, "is not JSON"), ("[1]", "must be a JSON object, got list")],
)
def test_a_card_that_is_no_object_is_refused(text: str, reason: str, path: Path) -> None:
    path.write_bytes(encode(decode(path)[0], {"harden": text}))
    assert refusal(path) == f"its card {reason}"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"model": "vit"}, "holds model 'vit', this harden knows mlp, cnn_small, "),
        ({"arguments": {"hidden": [], "depth": 3}}, "its card describes no mlp model: "),
        ({"arguments": {"hidden": ["a"]}}, "its card describes no mlp model: "),
        ({"arguments": {"hidden": [0]}}, "its card describes no mlp model: model.hidden must be at least 1"),
        ({"arguments": {"hidden": [2**80]}}, "its card describes no mlp model: "),
        ({"model": "cnn", "arguments": {}}, "its card describes no cnn model: model cnn needs images"),
        ({"shape": [1, 2, 3]}, "holds weights of model 'mlp' that do not fit: tensor net.1.weight is "),
        ({"classes": ["cat"]}, "holds weights of model 'mlp' that do not fit: tensor net.1.weight is "),
    ],
)
def test_a_card_that_does_not_describe_its_weights_is_refused(edit: dict[str, Any], message: str, path: Path) -> None:
    recarded(path, edit)
    with pytest.raises(WeightsError) as caught:
        load(path)
    assert caught.value.message.startswith(f"{path}: {message}")


def test_a_card_that_claims_a_vast_model_takes_no_memory(path: Path) -> None:
    """A tera-parameter layer: refused by its shape, before anything of that size is made."""
    recarded(path, {"arguments": {"hidden": [10**6, 10**6]}})
    with pytest.raises(WeightsError, match=r"net\.1\.weight is float of shape \(2, 4\), wanted .*\(1000000, 4\)"):
        load(path)
