"""Pictures are judged by what is in the file: text and lines of an SVG, pixels of a PNG."""

import math
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from harden.errors import ConfigError
from harden.pictures import curves, examples, surface
from harden.pictures.images import MOST, magnification

HISTORY = [
    {"epoch": 1.0, "loss": 2.0, "train_clean": 0.2, "val_clean": 0.25, "lr": 0.1},
    {"epoch": 2.0, "loss": math.nan, "train_clean": 0.4},
    {"epoch": 3.0, "loss": 1.25, "train_clean": 0.5, "val_clean": 0.625, "val_robust": 0.375},
]


def words(path: Path) -> str:
    return "\n".join(element.text or "" for element in ElementTree.parse(path).iter() if element.text)


def pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def batch(count: int = 2, channels: int = 1, size: int = 8) -> NDArray[np.float64]:
    return np.random.default_rng(0).uniform(0.2, 0.8, size=(count, channels, size, size))


def grid_of(path: Path, x: NDArray[np.float64], x_adv: NDArray[np.float64], **changes: object) -> None:
    labels = [0] * len(x)
    said = {"model": labels}
    given: dict[str, object] = {"labels": labels, "before": said, "after": said, "classes": ["cat", "dog"]}
    examples(path, clean=x, adversarial=x_adv, eps_text="PGD", **(given | changes))  # type: ignore[arg-type]


def draw_all(folder: Path) -> list[Path]:
    paths = [folder / name for name in ("curves.svg", "examples.svg", "surface.svg", "curves.png", "surface.png")]
    axis = np.linspace(0, 1, 5)
    for path in (paths[0], paths[3]):
        curves(HISTORY, path, title="t", events=[(2, "resumed")])
    grid_of(paths[1], batch(), batch() + 0.1)
    for path in (paths[2], paths[4]):
        surface(path, grid=np.outer(axis, axis), xs=axis, ys=axis, title="t")
    return paths


def test_equal_values_give_equal_bytes_in_another_process_and_under_other_settings(tmp_path: Path) -> None:
    code = f"""
import matplotlib, sys, importlib.util
matplotlib.rcParams.update({{"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "path"}})
spec = importlib.util.spec_from_file_location("pictures_test", {__file__!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.draw_all(module.Path({str(tmp_path / "there")!r}))
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, env=os.environ | {"PYTHONHASHSEED": "7"})
    for path in draw_all(tmp_path / "here"):
        assert path.read_bytes() == (tmp_path / "there" / path.name).read_bytes()


def test_drawing_leaves_the_settings_of_the_user_alone(tmp_path: Path) -> None:
    with mpl.rc_context({"font.size": 31.0}):
        before = dict(mpl.rcParams)
        draw_all(tmp_path)
        assert dict(mpl.rcParams) == before


def test_no_pyplot_is_loaded() -> None:
    code = "import sys, harden.pictures; assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_curves_name_what_was_measured_with_its_last_value_and_nothing_else(tmp_path: Path) -> None:
    curves(HISTORY, tmp_path / "c.svg", title="run <1> & $x$", events=[(2, "rolled back"), (3, "resumed")])
    text = words(tmp_path / "c.svg")
    for wanted in (
        "run <1> & $x$",
        "clean, validation: 62.5 %",
        "clean, training: 50.0 %",
        "attacked, validation: 37.5 %",
        "training loss: 1.25",
        "1  epoch 2: rolled back",
        "2  epoch 3: resumed",
    ):
        assert wanted in text
    assert "averaged" not in text
    assert "attacked, training" not in text


def test_curves_of_a_run_without_epochs_say_so(tmp_path: Path) -> None:
    curves([], tmp_path / "c.svg", title="empty")
    assert words(tmp_path / "c.svg").count("nothing measured") == 2


def test_of_many_events_the_first_are_told_and_the_others_counted(tmp_path: Path) -> None:
    curves(HISTORY, tmp_path / "c.svg", title="t", events=[(1, f"event{index}") for index in range(11)])
    text = words(tmp_path / "c.svg")
    assert "event7" in text
    assert "event8" not in text
    assert "and 3 more" in text


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    names = ["<script>\x00\n", "$\\frac$"]
    grid_of(tmp_path / "e.svg", batch(), batch() + 0.1, classes=names, labels=[0, 1])
    text = words(tmp_path / "e.svg")
    assert "<script>" in text
    assert "$\\frac$" in text


def test_a_picture_has_an_opaque_white_background(tmp_path: Path) -> None:
    curves(HISTORY, tmp_path / "c.png", title="t")
    with Image.open(tmp_path / "c.png") as image:
        rgba = np.asarray(image.convert("RGBA"))
    assert (rgba[..., 3] == 255).all()
    assert (rgba[0, 0] == 255).all()


@pytest.mark.parametrize(("largest", "factor"), [(8 / 255, 15), (0.3, 1), (0.25, 2), (0.5, 1), (1.0, 1), (0.0, 1)])
def test_the_magnification_is_the_largest_that_fits_between_black_and_white(largest: float, factor: int) -> None:
    assert magnification(np.array([0.0, -largest])) == factor


def test_the_images_are_drawn_in_their_own_colours_without_smoothing(tmp_path: Path) -> None:
    x = np.zeros((1, 3, 2, 2))
    x[0, 0] = 1.0  # red
    x_adv = x.copy()
    x_adv[0, 2, 0, 0] = 100 / 255  # one pixel turns pink
    grid_of(tmp_path / "e.png", x, x_adv)
    seen = {tuple(colour) for colour in pixels(tmp_path / "e.png").reshape(-1, 3).tolist()}
    assert {(255, 0, 0), (255, 0, 100)} <= seen
    assert not {(255, 0, shade) for shade in range(1, 100)} & seen


def test_the_difference_says_its_factor_and_is_grey_where_nothing_changed(tmp_path: Path) -> None:
    x = np.full((1, 1, 2, 2), 0.2)
    x_adv = x.copy()
    x_adv[0, 0, 0, 0] += 0.1
    grid_of(tmp_path / "e.svg", x, x_adv)
    assert "× 5" in words(tmp_path / "e.svg")
    grid_of(tmp_path / "e.png", x, x_adv)
    shades = pixels(tmp_path / "e.png").reshape(-1, 3).tolist()
    unchanged, dark = shades.count([127, 127, 127]), shades.count([51, 51, 51])
    # 3 of the difference's 4 pixels; 4 + 3 pixels of the images hold 0.2; borders round
    assert unchanged / 3 == pytest.approx(dark / 7, rel=0.02)


def test_captions_tell_true_class_and_what_each_model_says(tmp_path: Path) -> None:
    before, after = {"ordinary": [0, 1], "hardened": [0, 1]}, {"ordinary": [1, 0], "hardened": [0, 0]}
    grid_of(tmp_path / "e.svg", batch(), batch() + 0.1, labels=[0, 1], before=before, after=after)
    text = words(tmp_path / "e.svg").splitlines()
    assert (text.count("cat"), text.count("dog"), text.count("PGD")) == (1, 1, 1)
    assert (text.count("ordinary: cat ✓"), text.count("ordinary: dog ✓")) == (1, 1)
    assert (text.count("ordinary: dog ✗"), text.count("ordinary: cat ✗")) == (1, 1)
    assert (text.count("hardened: cat ✓"), text.count("hardened: cat ✗")) == (2, 1)


def test_no_more_than_ten_images_are_drawn(tmp_path: Path) -> None:
    grid_of(tmp_path / "e.svg", batch(12), batch(12) + 0.1)
    assert words(tmp_path / "e.svg").splitlines().count("cat") == MOST


@pytest.mark.parametrize(
    ("x", "x_adv", "changes"),
    [
        (batch(2), batch(3), {}),
        (batch(0), batch(0), {}),
        (batch(2)[0], batch(2)[0], {}),
        (batch(2), batch(2), {"labels": [0]}),
    ],
)
def test_images_that_do_not_fit_are_a_mistake(
    tmp_path: Path, x: NDArray[np.float64], x_adv: NDArray[np.float64], changes: dict[str, object]
) -> None:
    with pytest.raises(ValueError, match="examples: "):
        grid_of(tmp_path / "e.png", x, x_adv, **changes)


def test_a_surface_is_brightest_where_the_value_is_highest(tmp_path: Path) -> None:
    xs, ys = np.linspace(0, 1.5, 4), np.linspace(-1, 1, 3)
    z = np.zeros((3, 4))
    z[2, 3] = 1.0  # top right
    surface(tmp_path / "s.png", grid=z, xs=xs, ys=ys, title="t")
    drawn = pixels(tmp_path / "s.png").astype(int)
    yellow = np.argwhere((abs(drawn - [253, 231, 36]) <= 2).all(axis=-1))  # the upper end of viridis
    height, width = drawn.shape[:2]
    inside = yellow[yellow[:, 1] < 0.8 * width]  # right of it is the colour bar
    assert len(inside) > 100
    assert (inside[:, 0] < height / 2).all()
    assert (inside[:, 1] > width / 2).all()


@pytest.mark.parametrize("hole", [math.nan, math.inf])
def test_a_surface_with_holes_or_without_slope_is_drawn(tmp_path: Path, hole: float) -> None:
    z = np.ones((3, 4))
    surface(tmp_path / "flat.png", grid=z, xs=range(4), ys=range(3), title="flat")
    z[1, 1] = hole
    z[0, 0] = 2.0
    surface(tmp_path / "hole.png", grid=z, xs=range(4), ys=range(3), title="hole")
    surface(tmp_path / "void.png", grid=z * math.nan, xs=range(4), ys=range(3), title="void")
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 3


@pytest.mark.parametrize("shape", [(4, 3), (3,), (1, 1)])
def test_a_grid_that_does_not_fit_its_axes_is_a_mistake(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="surface: grid is"):
        surface(tmp_path / "s.png", grid=np.zeros(shape), xs=range(4), ys=range(3), title="t")


def test_another_format_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"got picture format '\.pdf', wanted \.svg or \.png"):
        curves(HISTORY, tmp_path / "c.pdf", title="t")
    assert not list(tmp_path.iterdir())
