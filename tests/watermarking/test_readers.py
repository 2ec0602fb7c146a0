"""Suspects are read in every format that they come in, and what cannot be understood is refused in one line."""

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from harden.errors import ConfigError, MissingExtra, Untrusted, WeightsError
from harden.seeds import stream
from harden.watermarking.edits.formats import integers, quantised, relabelled
from harden.watermarking.readers import oriented, parse_names, read, read_names, renamed

RNG = stream(0, "readers")


@pytest.fixture
def weights() -> dict[str, Tensor]:
    rng = RNG.generator()
    return {
        "a.weight": torch.randn(6, 3, 3, 3, generator=rng),
        "a.bias": torch.randn(6, generator=rng),
        "b.weight": torch.randn(4, 6, generator=rng),
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn])
def test_floats_of_every_size_are_read_as_they_are(
    tmp_path: Path, weights: dict[str, Tensor], dtype: torch.dtype
) -> None:
    stored = {name: tensor.to(dtype) for name, tensor in weights.items()}
    save_file({**stored, "a.num_batches_tracked": torch.tensor(7)}, tmp_path / "w.safetensors")
    after = read(tmp_path / "w.safetensors")
    assert after.keys() == weights.keys()
    assert all(torch.equal(after[name], stored[name].to(after[name].dtype)) for name in weights)
    assert after["a.bias"].dtype in (torch.float32, torch.float64)


@pytest.mark.parametrize("joint", [".", "_"])
def test_int8_is_read_with_its_scales(tmp_path: Path, weights: dict[str, Tensor], joint: str) -> None:
    stored = {}
    for name, tensor in weights.items():
        if tensor.dim() < 2:
            stored[name] = tensor
            continue
        codes, scale = integers(tensor, 8)
        stored |= {name: codes, f"{name}{joint}scale": scale.flatten()}
    save_file(stored, tmp_path / "w.safetensors")
    after, wanted = read(tmp_path / "w.safetensors"), quantised(weights, 8)
    assert after.keys() == weights.keys()
    for name in weights:
        torch.testing.assert_close(after[name], wanted[name])


def test_a_zero_point_moves_the_codes(tmp_path: Path) -> None:
    stored = {
        "w": torch.tensor([[130, 128], [0, 255]], dtype=torch.uint8),
        "w.scale": torch.tensor([0.5, 2.0]),
        "w.zero_point": torch.tensor([128], dtype=torch.int64),
    }
    save_file(stored, tmp_path / "w.safetensors")
    assert read(tmp_path / "w.safetensors")["w"].tolist() == [[1.0, 0.0], [-256.0, 254.0]]


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        ({"w": torch.ones(2, 2, dtype=torch.int8)}, "int8 without scales"),
        ({"w": torch.ones(2, 2, dtype=torch.int32), "w.scale": torch.ones(1)}, "int32 without scales"),
        ({"w": torch.ones(2, 2, dtype=torch.int8), "w.scale": torch.ones(3)}, "3 numbers, wanted 1 or 2"),
        ({"w": torch.tensor([[1.0, float("nan")]])}, "'w' is not finite"),
        ({"w": torch.tensor([[1.0, float("-inf")]], dtype=torch.float16)}, "'w' is not finite"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(tmp_path: Path, stored: dict[str, Tensor], words: str) -> None:
    save_file(stored, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=words):
        read(tmp_path / "w.safetensors")


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    for name, start in (("w.pt", b"PK\x03\x04"), ("w.pkl", b"\x80\x04"), ("w.safetensors", b"\x80\x05")):
        (tmp_path / name).write_bytes(start + bytes(60))
        with pytest.raises(Untrusted, match="pickle"):
            read(tmp_path / name)


def test_names_and_orientation_of_another_framework_come_back(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    stored, back = relabelled(weights, transpose=["b.weight"])
    assert not stored.keys() & weights.keys()
    save_file(stored, tmp_path / "w.safetensors")
    (tmp_path / "map.txt").write_text("# theirs=ours\n\n" + "\n".join(f"{old} = {new}" for old, new in back.items()))
    after = read(tmp_path / "w.safetensors", read_names(tmp_path / "map.txt"))
    assert after["b.weight"].shape == (6, 4)
    after = oriented(after, {name: tuple(tensor.shape) for name, tensor in weights.items()})
    assert all(torch.equal(after[name], tensor) for name, tensor in weights.items())


def test_an_order_in_the_map_turns_what_shapes_cannot_tell() -> None:
    square, kernel = torch.arange(9.0).view(3, 3), torch.arange(24.0).view(1, 2, 3, 4)
    after = renamed({"s": square, "k": kernel}, {"s": "a:10", "k": "b:3201"}, where="x")
    assert torch.equal(after["a"], square.T)
    assert torch.equal(after["b"], kernel.permute(3, 2, 0, 1))
    assert after["b"].shape == (4, 3, 1, 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a", "line 1: wanted old=new"),
        ("a=b\n=c", "line 2: wanted old=new"),
        ("a=", "line 1: wanted"),
        ("a=b\na=c", "line 2: 'a' is named twice"),
    ],
)
def test_a_map_that_is_none_is_refused_with_its_line(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_names(text, where="map.txt")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({"z": "a"}, "has no tensor 'z'"),
        ({"s": "t"}, "would be called 't'"),
        ({"s": "a:012"}, "does not reorder"),
        ({"s": "a:00"}, "does not reorder"),
    ],
)
def test_a_map_that_does_not_fit_the_file_is_refused(names: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        renamed({"s": torch.ones(2, 3), "t": torch.ones(2)}, names, where="w")


def test_a_map_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read"):
        read_names(tmp_path / "none.txt")


def test_no_common_name_at_all_is_refused_with_both() -> None:
    with pytest.raises(WeightsError, match=r"it wants x.weight .*the file has y"):
        oriented({"y": torch.ones(2)}, {"x.weight": (2, 2)})


def test_onnx_without_the_extra_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingExtra) as refused:
        read(tmp_path / "w.onnx")
    assert "harden[onnx]" in refused.value.hint


def test_onnx_initialisers_are_read_quantised_ones_too(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
    codes, scale = integers(weights["b.weight"], 8)
    tensors = {
        "a.weight": weights["a.weight"].numpy(),
        "half": weights["a.bias"].half().numpy(),
        "codes": codes.numpy(),
        "scale": scale.flatten().numpy(),
        "shape": torch.tensor([1, 2]).numpy(),
    }
    node = onnx.helper.make_node("DequantizeLinear", ["codes", "scale"], ["b.weight"], axis=0)
    held = [onnx.numpy_helper.from_array(array, name) for name, array in tensors.items()]
    graph = onnx.helper.make_graph([node], "g", [], [], initializer=held)
    onnx.save(onnx.helper.make_model(graph), str(tmp_path / "w.onnx"))
    after = read(tmp_path / "w.onnx")
    assert torch.equal(after["a.weight"], weights["a.weight"])
    assert torch.equal(after["half"], weights["a.bias"].half().float())
    torch.testing.assert_close(after["b.weight"], quantised(weights, 8)["b.weight"])
    assert "shape" not in after


def test_damaged_onnx_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="the extra onnx is not installed")
    (tmp_path / "w.onnx").write_bytes(b"\xff" * 50)
    with pytest.raises(WeightsError, match="is no ONNX file"):
        read(tmp_path / "w.onnx")
    with pytest.raises(WeightsError, match="no such file"):
        read(tmp_path / "none.onnx")
