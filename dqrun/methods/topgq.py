"""`method=topgq`: post-training quantisation with scales of rows and columns (TopGQ, 2025)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from dqrun.config.rules import doc, require
from dqrun.config.search import Dimension
from dqrun.methods.ptq import Ptq, PtqConfig

if TYPE_CHECKING:
    from torch import nn

    from dqrun.config import RunConfig
    from dqrun.graphs import Batch
    from dqrun.training.problem import Problem


@dataclass
class TopGqConfig(PtqConfig):
    """TopGQ: post-training quantisation with a scale for each row, which goes into the sums over edges, and a factor
    for each column, which goes into the weight behind it."""

    settings: ClassVar[tuple[str, ...]] = ("absorption", *PtqConfig.settings)

    absorption: float = doc(
        "a: a column is divided by its largest absolute value to the power of a, [0, 1]; 0: rows alone", 1.0
    )

    def validate(self) -> None:
        super().validate()
        require(0 <= self.absorption <= 1, "method.absorption", "be in [0, 1]", self.absorption)

    def validate_in(self, run: RunConfig) -> None:
        super().validate_in(run)
        kind, rule = run.quant.activation_granularity, f"be row for method={self.name}, where each row has a scale"
        require(kind == "row", "quant.activation_granularity", rule, kind)
        kind = run.quant.weight_granularity
        rule = f"be tensor or channel for method={self.name}: inputs have factors"
        require(kind != "group", "quant.weight_granularity", rule, kind)

    def dimensions(self) -> list[Dimension]:
        absorption = Dimension("absorption", ("method.absorption",), 0.0, 1.0, self.absorption, log=False)
        return [absorption, *super().dimensions()]


class TopGq(Ptq):
    """X ~ diag(r) Q diag(c): a scale r_i of each row, c_f of each column.

    Then A X W = (A diag(r)) Q (diag(c) W). The scale of a row comes from the row itself, also for unseen nodes. The
    factor of a column depends on its largest absolute value in the calibration data (`fit_columns`). The weight that
    multiplies X is rounded after multiplication by these factors.
    """

    config: TopGqConfig

    def arrange(self, model: nn.Module) -> None:
        if not self.config.absorption:
            return
        from dqrun.nn.columns import give_columns

        give_columns(model)

    def calibration_data(self, model: nn.Module, problem: Problem) -> Iterable[Batch]:
        batches = list(super().calibration_data(model, problem))
        if self.config.absorption:
            from dqrun.nn.columns import fit_columns

            fit_columns(model, batches, self.config.absorption)
        return batches
