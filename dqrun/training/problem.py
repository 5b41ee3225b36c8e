"""`Problem`: the data and the task of one training."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from dqrun.data.trial_data import TrialData
from dqrun.graphs import Batch
from dqrun.nn.generated import Sizes
from dqrun.ranks.alone import ALONE, Ranks
from dqrun.training.tasks import Task


@dataclass(frozen=True)
class Problem:
    """Batches of the training and validation data, and the task.

    `shuffled`: one pass over the training data, in an order drawn from a generator on the CPU. `ordered`: one pass in a
    fixed order. `val`: the validation data. `norm_batch`: training graphs from which batch norms get their statistics
    before each validation (`reestimate_norms`); None: from running averages. `sizes`: numbers of inputs and outputs of
    the network. `ranks`: the processes that share each batch; `shuffled` gives this process's part.
    """

    task: Task
    shuffled: Callable[[torch.Generator], Iterable[Batch]]
    ordered: Callable[[], Iterable[Batch]]
    val: Callable[[], Iterable[Batch]]
    norm_batch: Batch | None = None
    sizes: Sizes | None = None
    ranks: Ranks = ALONE

    @classmethod
    def of(cls, data: TrialData, task: Task, norm_batch: Batch | None = None, ranks: Ranks = ALONE) -> Problem:
        """The problem of a trial."""
        sizes = Sizes(
            data.in_channels, data.num_categories, data.out_channels, task.graph_level, task.is_classification
        )
        parts = data.calibration_batches, (lambda: data.judged("val"))

        def shuffled(generator: torch.Generator) -> Iterable[Batch]:
            return data.train_batches(generator, ranks.share)

        return cls(task, shuffled, *parts, norm_batch, sizes, ranks)
