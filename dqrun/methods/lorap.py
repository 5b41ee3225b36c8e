"""`method=lorap`: low-rank prompts on aggregates (LoRAP, arXiv 2601.15079), with or without protected nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dqrun.config.rules import doc, require
from dqrun.methods.dq import DegreeQuant, DegreeQuantConfig

if TYPE_CHECKING:
    from torch import nn

    from dqrun.config import RunConfig


@dataclass
class LorapConfig(DegreeQuantConfig):
    """LoRAP: each layer adds a learned low-rank function of its aggregates to them. The preset `lorap_dq` protects
    nodes as Degree-Quant does."""

    rank: int = doc("rows of the bank of each layer, from which the additions are mixed, >= 1", 8)

    def validate(self) -> None:
        super().validate()
        require(self.rank >= 1, "method.rank", "be >= 1", self.rank)

    def validate_in(self, run: RunConfig) -> None:
        super().validate_in(run)
        rule = f"be float for method={self.name}, which adds real numbers to sums"
        require(run.evaluate.engine == "float", "evaluate.engine", rule, run.evaluate.engine)


class Lorap(DegreeQuant):
    """Degree-Quant, or without protection the plain training, of a network with a `Prompt` in each layer."""

    config: LorapConfig

    def extend(self, model: nn.Module) -> None:
        from dqrun.nn.prompt import add_prompts

        add_prompts(model, self.config.rank)
