"""The Open Graph Benchmark's sets that `dataset=ogb` reads (Hu et al., NeurIPS 2020), as `master.csv` of its package
lists them: what is predicted, how it is judged, where it lies. Imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dqrun.config.rules import require_one_of

_URL = "http://snap.stanford.edu/ogb/data/"
_CLASSES, _LABELS, _NUMBER = "classification", "multilabel", "regression"


@dataclass(frozen=True)
class OgbSet:
    """One set. `task`, `metric`: as `dataset.task` and `dataset.metric`; `targets`: numbers that a graph or node has.

    `archive`: the path of its ZIP file below OGB's address, without the suffix; its last part is the folder within.
    `both_ways`: the files have one direction of each edge, the data both. `nodes`, `edges`: what rows hold,
    `categories`, `floats` or nothing. `binary`: arrays in NPZ files in place of text. `split`: the name of the
    official split.
    """

    task: str
    metric: str
    targets: int
    archive: str
    split: str
    nodes: str = field(default="", kw_only=True)
    edges: str = field(default="", kw_only=True)
    both_ways: bool = field(default=True, kw_only=True)
    binary: bool = field(default=False, kw_only=True)

    @property
    def url(self) -> str:
        """Where its archive is."""
        return f"{_URL}{self.archive}.zip"

    @property
    def top(self) -> str:
        """The folder within the archive."""
        return self.archive.rpartition("/")[2]


def _molecules(archive: str, kind: str, metric: str, targets: int = 1) -> OgbSet:
    place = f"graphproppred/csv_mol_download/{archive}"
    return OgbSet(f"graph_{kind}", metric, targets, place, "scaffold", nodes="categories", edges="categories")


def _nodes(archive: str, kind: str, metric: str, split: str, **options: object) -> OgbSet:
    targets = 112 if kind == _LABELS else 1
    return OgbSet(f"node_{kind}", metric, targets, f"nodeproppred/{archive}", split, **options)  # type: ignore[arg-type]


OGB_SETS = {
    "ogbg-molbace": _molecules("bace", _LABELS, "roc_auc"),
    "ogbg-molbbbp": _molecules("bbbp", _LABELS, "roc_auc"),
    "ogbg-molclintox": _molecules("clintox", _LABELS, "roc_auc", 2),
    "ogbg-molesol": _molecules("esol", _NUMBER, "rmse"),
    "ogbg-molfreesolv": _molecules("freesolv", _NUMBER, "rmse"),
    "ogbg-molhiv": _molecules("hiv", _LABELS, "roc_auc"),
    "ogbg-mollipo": _molecules("lipophilicity", _NUMBER, "rmse"),
    "ogbg-molmuv": _molecules("muv", _LABELS, "average_precision", 17),
    "ogbg-molpcba": _molecules("pcba", _LABELS, "average_precision", 128),
    "ogbg-molsider": _molecules("sider", _LABELS, "roc_auc", 27),
    "ogbg-moltox21": _molecules("tox21", _LABELS, "roc_auc", 12),
    "ogbg-moltoxcast": _molecules("toxcast", _LABELS, "roc_auc", 617),
    "ogbg-ppa": OgbSet(
        "graph_classification", "accuracy", 1, "graphproppred/ogbg_ppi_medium", "species", edges="floats"
    ),
    "ogbn-arxiv": _nodes("arxiv", _CLASSES, "accuracy", "time", nodes="floats", both_ways=False),
    "ogbn-papers100M": _nodes(
        "papers100M-bin", _CLASSES, "accuracy", "time", nodes="floats", both_ways=False, binary=True
    ),
    "ogbn-products": _nodes("products", _CLASSES, "accuracy", "sales_ranking", nodes="floats"),
    "ogbn-proteins": _nodes("proteins", _LABELS, "roc_auc", "species", edges="floats"),
}


def ogb_task(name: str) -> str:
    """`dataset.task` of a set of OGB, for presets; of an unknown name, which is refused afterwards, any."""
    return OGB_SETS[name].task if name in OGB_SETS else "graph_classification"


def ogb_metric(name: str) -> str:
    """`dataset.metric` of a set of OGB, for presets; as `ogb_task`."""
    return OGB_SETS[name].metric if name in OGB_SETS else "auto"


def validate_ogb(name: str, task: str) -> None:
    """Raises ConfigError for a set that OGB does not have, or that dqrun cannot predict, and for another task."""
    require_one_of("dataset.name", name, tuple(OGB_SETS))
    require_one_of("dataset.task", task, (OGB_SETS[name].task,))
