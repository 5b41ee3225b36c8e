"""Loads the dataset and network of a run folder, for `dqrun plot pareto` and `plot degree`. Imports torch."""

from __future__ import annotations

from dqrun import register
from dqrun.analysis.rows import Run, config_of
from dqrun.config import DataConfig, RunConfig
from dqrun.data.dataset import GraphDataset
from dqrun.data.splits import split_for
from dqrun.data.stored import load_stored
from dqrun.data.trial_data import TrialData
from dqrun.nn.build import build_model, reads_edge_features, reads_edge_weights, uses_self_loops
from dqrun.nn.costs import Costs, Size, costs, measured_widths
from dqrun.runs.model_file import load_model, require_data
from dqrun.runs.store import MODEL


class Datasets:
    """Loads each dataset and counts the costs of each network once.

    Data are read from the folders of the present user, never from those in a configuration: results may come from
    another person, and only the user's own cache may be written.
    """

    def __init__(self, data: DataConfig | None = None) -> None:
        """`data`: folders of the cache and the mirror; None: those of the environment."""
        self._data = data or DataConfig()
        self._loaded: dict[str, GraphDataset] = {}
        self._costs: dict[str, Costs] = {}

    def of(self, config: RunConfig) -> GraphDataset:
        """The dataset of a configuration; raises ConfigError or DataError if it is not available here."""
        key = repr(config.dataset)
        if key not in self._loaded:
            self._loaded[key] = load_stored(config.dataset, self._data)
        return self._loaded[key]

    def trial(self, config: RunConfig, fold: int | None) -> TrialData:
        """The data of one trial, with its split and features."""
        dataset = self.of(config)
        split = split_for(dataset, config.protocol, fold)
        return TrialData.build(
            dataset,
            split,
            config.dataset,
            config.train.batch_size,
            uses_self_loops(config.model),
            "cpu",
            reads_edge_weights(config.model),
            reads_edge_features(config.model),
        )

    def costs(self, run: Run) -> Costs:
        """The costs of one forward pass of the run's network: over the graph of a node task, per mean graph otherwise.

        Learned widths are read from the run's model file. Raises DataError or ConfigError if configuration, dataset or
        that file are missing.
        """
        parts = {name: (run.config or {}).get(name) for name in ("dataset", "model", "quant", "method", "plan")}
        learnt = run.folder if self._learns_widths(run) else None
        key = repr((parts, run.row.get("data_fingerprint"), learnt))
        if key not in self._costs:
            self._costs[key] = self._counted(run)
        return self._costs[key]

    def _counted(self, run: Run) -> Costs:
        config = config_of(run)
        data = self.trial(config, run.row.get("fold"))
        packed = data.packed
        size = Size(packed.num_nodes / packed.num_graphs, packed.num_edges / packed.num_graphs)
        if not self._learns_widths(run):
            return costs(build_model(config, **data.shapes), size)
        model, _ = load_model(run.folder / MODEL)
        require_data(run.folder / MODEL, data.shapes)
        return costs(model, size, measured_widths(model, data.batches("test")))

    def _learns_widths(self, run: Run) -> bool:
        """Whether widths of a run's network are known only from its model file."""
        kind = str(((run.config or {}).get("method") or {}).get("kind"))
        return kind in register.method and bool(register.method.get(kind).learns_widths)
