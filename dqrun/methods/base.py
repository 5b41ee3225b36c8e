"""`Method`: what a training with quantisation does beyond FP32 training, as hooks that the training loop calls."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from dqrun import register
from dqrun.config.method import MethodConfig, fp32_method
from dqrun.config.parts import as_given

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dqrun.config import RunConfig, TrainConfig
    from dqrun.graphs import Batch
    from dqrun.quant import Phase, Point, Quantizer, QuantSpec, Rounding, ScaleProvider
    from dqrun.training.problem import Problem
    from dqrun.training.seeding import Streams


@dataclass(frozen=True)
class Stage:
    """A part of a training, as data.

    `epochs`: how many it has, >= 0. `phase`: what the quantisers do in them. A stage of `Phase.CALIBRATE` has no
    epochs: the training data pass once, in evaluation mode, and the quantisers observe.

    `kept`: whether one of its epochs may be chosen as the result. Epochs of stages without `kept` do not count for
    early stopping or a plateau of the learning rate either, because their losses are not comparable.

    `trained`: globs of the parameters that are trained, as in `plan.rules`; None: all. `restarts`: the optimiser's
    averages and the learning rate's schedule begin anew with this stage, with the rate `lr` (None: `train.lr`).

    `anew`: None, or the whole training begins anew with this stage, with the initial parameters, buffers and random
    streams, as if there were no earlier stages. Only the tensors of the network's state that match these globs keep
    their values: the result of a search.
    """

    name: str
    epochs: int
    phase: Phase
    kept: bool = True
    trained: tuple[str, ...] | None = None
    restarts: bool = False
    lr: float | None = None
    anew: tuple[str, ...] | None = None


class Method:
    """A network whose quantisers follow observed ranges from the first epoch on; every method is a subclass.

    A subclass overrides the hooks in which it differs. Their order in a training: `quantizer` for each point of the
    network, between `extend` and `arrange`; `parameter_groups`; `stages`; `before_training`; then `before_epoch` in
    each epoch, in it `before_batch`, `penalty` and `guidance` in each step; `after_training` at the end. Modules of
    methods import torch inside hooks only.

    A method object has no state of a training. Learned values belong in the network's parameters and buffers, so that
    checkpoints contain them.
    """

    learns_widths: ClassVar[bool] = False
    """Whether training or data determine widths, so that the configuration alone does not."""

    def __init__(self, config: MethodConfig, layers: int = 1) -> None:
        """`config`: of the class that is registered with the method. `layers`: number of message-passing layers."""
        self.config, self.layers = config, layers

    def quantizer(self, point: Point, spec: QuantSpec) -> Quantizer | None:
        """The quantiser of a quantisation point, or None: the point stays in FP32.

        `spec`: the grid that the plan and `quant.*` give. Not called for points that the plan leaves in FP32.
        """
        from dqrun.quant import Quantizer

        if spec.bits == 1:
            return self.one_bit(point, spec)
        spec = replace(spec, collapsed=self.config.collapsed_range)
        parts = self.scales(point, spec), self.rounding(point, spec)
        return Quantizer(*parts, protects=self.protects(point), name=point.name)

    def one_bit(self, point: Point, spec: QuantSpec) -> Quantizer | None:
        """The quantiser of a point of 1 bit: sign(x) mean|x|, the mean over a row or over weights with one scale."""
        from dqrun.quant.estimators import Clipped, SignEstimator
        from dqrun.quant.one_bit import one_bit_quantizer

        estimator = SignEstimator() if self.config.estimator == "ste" else Clipped()
        return one_bit_quantizer(point, spec, estimator, protects=self.protects(point))

    def extend(self, model: nn.Module) -> None:
        """Called when weights are initialised, before sites get quantisers: may add modules to the network."""

    def arrange(self, model: nn.Module) -> None:
        """Called when all sites have their quantisers: may change them."""

    def scales(self, point: Point, spec: QuantSpec) -> ScaleProvider:
        """The provider of a point's scales: ranges of its rows if `quant.activation_granularity` says so, else the
        range that `observer` or `weight_observer` observes."""
        from dqrun.quant import RangeObserver, RowRange

        if spec.granularity.per_row:
            return RowRange(spec)

        how = self.config.weight_observer if point.is_weight else self.config.observer
        tail = point.cut_tail(how.tail)
        return RangeObserver(spec, point.scale_shape, tail, how.update, how.momentum, how.percentile)

    def rounding(self, point: Point, spec: QuantSpec) -> Rounding:
        """How the values of a point are rounded, and with which gradient."""
        from dqrun.quant import UniformRounding

        return UniformRounding(spec, self.config.estimator)

    def protects(self, point: Point) -> bool:
        """Whether the protected rows of a graph stay in FP32 at a point."""
        return True

    def stages(self, train: TrainConfig) -> list[Stage]:
        """The stages of a training, in order. Their epochs add up to `train.epochs`, plus those of a search if any."""
        from dqrun.quant import Phase

        return [Stage("quantise", train.epochs, Phase.QUANTIZE)]

    def parameter_groups(self, model: nn.Module, train: TrainConfig) -> list[dict[str, Any]]:
        """The groups of parameters that the optimiser gets, with their options.

        Parameters of quantisers have no weight decay: it would, for example, move the logarithm of a scale towards 0,
        the scale towards 1.
        """
        from dqrun.quant.plan import split_parameters

        own, of_quantizers = split_parameters(model)
        quantizers = [{"params": of_quantizers, "weight_decay": 0.0}] if of_quantizers else []
        return [{"params": own}, *quantizers]

    def before_training(self, model: nn.Module) -> None:
        """Called with the network before its first step, and before a checkpoint is read when a training continues."""

    def before_epoch(self, model: nn.Module, epoch: int, stage: Stage) -> None:
        """Called before each epoch, counted from 1.

        A training that continues from a checkpoint calls it for the remaining epochs only. Its effect must therefore
        depend on its arguments and on the network's parameters and buffers alone.
        """

    def before_batch(self, batch: Batch, streams: Streams) -> Batch:
        """The batch for a training step, e.g. with masks of protected nodes. `streams`: the trial's generators."""
        return batch

    def penalty(self, model: nn.Module) -> Tensor | None:
        """A term of the loss of a step, 0-d, or None for no term."""
        return None

    def guidance(self, batch: Batch, logits: Tensor) -> Tensor | None:
        """A term of the loss of a step that depends on its logits, 0-d, or None for no term.

        `batch`: the result of `before_batch`; `logits`: float32, a row for each of its nodes or graphs, with gradient.
        """
        return None

    def calibration_data(self, model: nn.Module, problem: Problem) -> Iterable[Batch]:
        """The batches that pass through the network in a stage that calibrates."""
        return problem.ordered()

    def after_training(self, model: nn.Module, problem: Problem) -> None:
        """Called after a training, with `model` in the state that validation chose."""


def make_method(config: RunConfig, layers: int | None = None) -> Method:
    """The method of a run; for a run in FP32 plain `Method`, which has no effect because no point is quantised.

    `layers`: number of message-passing layers; None: `model.layers`. A user's own network may have another number.
    Raises ConfigError for an unknown method.
    """
    if config.quant.is_fp32:
        return Method(fp32_method())
    count = config.model.layers if layers is None else layers
    made: Method = register.method.get(config.method.kind)(as_given(config.method.effective()), count)
    return made
