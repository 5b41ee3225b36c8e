"""Tables as text."""

import pytest

from dqrun.report.tables import align, format_mean


@pytest.mark.parametrize(
    ("mean", "half_width", "metric", "text"),
    [
        (0.8142, 0.0051, "accuracy", "81.42 % +- 0.51"),
        (0.43121, 0.00214, "mae", "0.4312 +- 0.0021"),
        (0.5, float("nan"), "accuracy", "50.00 %"),
        (float("nan"), float("nan"), "accuracy", "-"),
    ],
)
def test_means(mean: float, half_width: float, metric: str, text: str) -> None:
    assert format_mean(mean, half_width, metric) == text


def test_columns_line_up() -> None:
    assert align([{"a": "xyz", "bb": 1}, {"a": "x", "bb": 22}]).splitlines() == ["a    bb", "xyz  1", "x    22"]
    assert align([]) == "no trials"
