"""A table in each form."""

from dqrun.report.sheets import Sheet, as_html, as_latex, as_markdown, as_text

SHEET = Sheet(["a|b", "n_1"], [["x", "1 % +- 2"], ["<y>", "3"]], frozenset({(0, 1)}), "Title", ["A note."])


def test_text_lines_up_with_and_without_bold() -> None:
    assert as_text(SHEET).splitlines() == ["Title", "a|b  n_1", "x    1 % +- 2", "<y>  3", "A note."]
    assert as_text(SHEET, color=True).splitlines()[2] == "x    \x1b[1m1 % +- 2\x1b[0m"


def test_markdown() -> None:
    assert as_markdown(SHEET).splitlines() == [
        "**Title**",
        "",
        r"| a\|b | n_1 |",
        "| --- | --- |",
        "| x | **1 % ± 2** |",
        "| <y> | 3 |",
        "",
        "A note.",
    ]


def test_latex() -> None:
    assert as_latex(SHEET).splitlines() == [
        "% Title",
        "% A note.",
        r"\begin{tabular}{ll}",
        r"\toprule",
        r"a|b & n\_1 \\",
        r"\midrule",
        r"x & \textbf{1 \% $\pm$ 2} \\",
        r"\textless{}y\textgreater{} & 3 \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_html() -> None:
    text = as_html(SHEET)
    assert "<caption>Title</caption>" in text and "<td><b>1 % &plusmn; 2</b></td>" in text
    assert "<td>&lt;y&gt;</td>" in text and "<p>A note.</p>" in text
