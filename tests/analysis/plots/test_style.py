"""What all pictures share."""

import importlib.util
import subprocess
import sys
from typing import Any

import pytest

from dqrun.analysis.plots import style
from dqrun.analysis.text import for_picture
from dqrun.errors import ConfigError

pytest.importorskip("matplotlib")


def picture(name: str = "a") -> Any:
    with style.styled():
        figure, ((panel,),) = style.panels(1, 1, 2, 2)
        style.legend(figure, {name: panel.plot([0, 1], [0, 1])[0]})
        style.title(panel, name)
        panel.set_xticks([0], [for_picture(name)])
        style.explain(figure, "a note that is too long for the width of so small a figure")
    return figure


@pytest.mark.parametrize(("form", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_the_same_picture_has_the_same_bytes(form: str, start: bytes) -> None:
    first = style.encode(picture(), form)
    assert first.startswith(start) and first == style.encode(picture(), form) != style.encode(picture("b"), form)


@pytest.mark.parametrize("name", ["$", "$x$", r"$\frac{", "_hidden", "a\x1b[31m\n", "<b>&", "$a_b^c$ 5 %"])
def test_any_name_is_drawn_as_it_is(name: str) -> None:
    figure = picture(name)
    assert style.encode(figure, "svg") and style.encode(figure, "pdf")
    (entry,) = figure.legends[0].get_texts()
    assert entry.get_text() == for_picture(name) and not entry.get_parse_math()
    assert figure.axes[0].get_title(loc="left") == for_picture(name)


def test_panels_have_their_size() -> None:
    figure, grid = style.panels(2, 3, 2.0, 1.5)
    assert figure.get_size_inches().tolist() == pytest.approx([6.0, 3.3]) and [len(line) for line in grid] == [3, 3]


def test_a_figure_has_the_height_of_its_legend() -> None:
    with style.styled():
        figure, ((panel,),) = style.panels(1, 1, 3.6, 2.9)
        lines = {f"a long name {i}": panel.plot([0, 1], [0, i])[0] for i in range(32)}
        style.legend(figure, lines)
        style.encode(figure, "png")  # warns, an error here, where no place is left for the panel
    assert panel.get_window_extent().height > 1.5 * figure.dpi


def test_notes_are_broken_to_the_width() -> None:
    note = picture().get_supxlabel()
    assert note.splitlines() == ["a note that is too long for the", "width of so small a figure"]  # 34 of 2 inches


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("seconds", "seconds (s)"),
        ("peak_bytes", "peak_bytes (MiB)"),
        ("model_bytes", "model_bytes (KiB)"),
        ("seed", "seed"),
        ("test_metric", "test_metric"),
    ],
)
def test_fields_have_their_unit(name: str, label: str) -> None:
    assert style.field_label(name) == label


def test_metrics_have_their_unit() -> None:
    assert style.metric_label("accuracy") == "Test accuracy (%)"
    assert style.metric_label("mae", "Validation") == "Validation MAE (target's unit)"


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "nonsense"])
def test_a_backend_of_the_environment_is_not_used(backend: str) -> None:
    code = (
        "import os; from dqrun.analysis.plots import style\n"
        "with style.styled():\n  figure, _ = style.panels(1, 1, 1, 1)\n"
        f"assert style.encode(figure, 'png') and os.environ['MPLBACKEND'] == {backend!r}\n"
        "import sys; assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], env={"MPLBACKEND": backend}, check=True)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'dqrun\[plots\]'"):
        style.require_matplotlib()
    assert importlib.util.find_spec("matplotlib") is not None
