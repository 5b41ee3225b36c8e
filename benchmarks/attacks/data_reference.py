"""A second, slow reader of each format, without code of dqrun; `data.py` compares its results with dqrun's."""

from __future__ import annotations

import csv
import gzip
import io
import pickle
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import torch
from safetensors.torch import load
from torch_geometric.data import Batch, Data
from torch_geometric.data.data import DataEdgeAttr, DataTensorAttr
from torch_geometric.data.storage import GlobalStorage

Facts = dict[str, Any]
"""The content of a dataset, as Python numbers; all but node numbers, sizes and parts is rounded to float32.

`sizes`: nodes per graph. `edges`: per graph, sorted tuples of source, target, and the edge's weight and features. `y`:
the labels, None for an unknown one. `x`: rows of node features, or None. `parts`, for OGB only: the parts of the split.
"""


def facts(node_graph: Sequence[int], edges: Sequence[tuple[Any, ...]], y: Sequence[Any], x: Any) -> Facts:
    """Builds the facts of a dataset.

    `node_graph`: the graph of each node. `edges`: (source, target, weight and features), with positions in `node_graph`
    as source and target. `y`: the labels. `x`: the features of each node, or None.
    """
    graphs = max(node_graph) + 1
    order = sorted(range(len(node_graph)), key=lambda node: (node_graph[node], node))
    first = {graph: order.index(next(n for n in order if node_graph[n] == graph)) for graph in set(node_graph)}
    local = {node: place - first[node_graph[node]] for place, node in enumerate(order)}
    found: list[list[tuple[Any, ...]]] = [[] for _ in range(graphs)]
    for source, target, *carried in edges:
        numbers = (float(np.float32(value)) for value in carried)
        found[node_graph[source]].append((local[source], local[target], *numbers))
    return {
        "sizes": [sum(graph == each for each in node_graph) for graph in range(graphs)],
        "edges": [sorted(each) for each in found],
        "y": [None if value is None else float(np.float32(value)) for value in y],
        "x": None if x is None else [[float(np.float32(value)) for value in x[node]] for node in order],
    }


def numbers(content: bytes, kind: type) -> list[list[Any]]:
    lines = content.decode("utf-8-sig").replace("\r\n", "\n").rstrip().split("\n")
    return [[kind(word) for word in line.split(",")] for line in lines]


def tu(files: dict[str, bytes]) -> Facts:
    part = {path.split("TOY_")[-1].removesuffix(".txt"): content for path, content in files.items()}
    node_graph = [row[0] - 1 for row in numbers(part["graph_indicator"], int)]
    carried = features(part, "edge", len(numbers(part["A"], int)))
    edges: dict[tuple[int, int], list[float]] = {}
    for (a, b), row in zip(numbers(part["A"], int), carried, strict=True):
        if a != b:
            before = edges.get((a - 1, b - 1), [0.0] * len(row))
            edges[a - 1, b - 1] = [
                float(np.float32(old) + np.float32(new)) for old, new in zip(before, row, strict=True)
            ]
    raw = [row[0] for row in numbers(part["graph_labels"], int)]
    rows = features(part, "node", len(node_graph))
    found = [(*ends, *row) for ends, row in sorted(edges.items())]
    return facts(node_graph, found, [sorted(set(raw)).index(label) for label in raw], rows if rows[0] else None)


def features(part: dict[str, bytes], what: str, count: int) -> list[list[float]]:
    """Returns one row per node or edge (`what`): its attributes, then its labels in one-hot form."""
    rows: list[list[float]] = [[] for _ in range(count)]
    if f"{what}_attributes" in part:
        rows = [row + values for row, values in zip(rows, numbers(part[f"{what}_attributes"], float), strict=True)]
    if f"{what}_labels" in part:
        columns = zip(*numbers(part[f"{what}_labels"], int), strict=True)
        for column in columns:
            low, high = min(column), max(column)
            rows = [
                row + [float(v == label) for v in range(low, high + 1)] for row, label in zip(rows, column, strict=True)
            ]
    return rows


class Honest(pickle.Unpickler):
    """Python's own unpickler, limited to the modules that the samples need; of `builtins`, only `list`."""

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] not in ("numpy", "scipy", "torch", "collections", "__builtin__", "builtins", "_codecs"):
            raise pickle.UnpicklingError(module)
        if module == "builtins" and name != "list":
            raise pickle.UnpicklingError(name)
        return super().find_class(module, name)


def planetoid(files: dict[str, bytes]) -> Facts:
    part = {path.split("ind.cora.")[-1]: content for path, content in files.items()}
    read = {n: Honest(io.BytesIO(part[n]), encoding="latin1").load() for n in ("allx", "tx", "ally", "ty", "graph")}
    test = [row[0] for row in numbers(part["test.index"], int)]
    allx, tx = read["allx"].toarray(), read["tx"].toarray()
    nodes = max(test) + 1
    x, y = np.zeros((nodes, allx.shape[1])), np.zeros((nodes, read["ally"].shape[1]))
    x[: len(allx)], y[: len(allx)] = allx, read["ally"]
    x[test], y[test] = tx, read["ty"]
    edges = {(a, b) for a, others in read["graph"].items() for b in others if a != b}
    return facts([0] * nodes, sorted(edges), y.argmax(1).tolist(), x.tolist())


def joined(graphs: Sequence[tuple[int, Any, float, Any]]) -> Facts:
    """Returns the facts of several graphs; each graph is (number of nodes, edges, y, rows of x)."""
    node_graph, edges, x = [], [], []
    for number, (nodes, pairs, _, rows) in enumerate(graphs):
        edges += [(a + len(node_graph), b + len(node_graph), *carried) for a, b, *carried in pairs]
        node_graph += [number] * nodes
        x += rows
    return facts(node_graph, edges, [y for _, _, y, _ in graphs], x)


def zinc(files: dict[str, bytes]) -> Facts:
    graphs = []
    for part in ("train", "val", "test"):
        molecules = Honest(io.BytesIO(files[f"ZINC/raw/{part}.pickle"])).load()
        for number in numbers(files[f"ZINC/raw/{part}.index"], int)[0]:
            each = molecules[number]
            pairs = [(a, b, int(each["bond_type"][a, b])) for a, b in each["bond_type"].nonzero().tolist()]
            types = [[float(kind)] for kind in each["atom_type"].tolist()]
            graphs.append((len(types), pairs, float(each["logP_SA_cycle_normalized"]), types))
    return joined(graphs)


def gnn_benchmark(files: dict[str, bytes]) -> Facts:
    (content,) = files.values()
    graphs = [each for part in torch.load(io.BytesIO(content), weights_only=True) for each in part]
    rows = [torch.cat([each["x"], each["pos"]], 1).tolist() for each in graphs]
    pairs = [each["edge_index"].t().tolist() for each in graphs]
    return joined([(len(row), pair, int(each["y"]), row) for row, pair, each in zip(rows, pairs, graphs, strict=True)])


def table(content: bytes) -> list[dict[str, str]]:
    text = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    rows = [row for row in csv.reader(io.StringIO(text), skipinitialspace=True) if any(word.strip() for word in row)]
    return [{name.strip(): word.strip() for name, word in zip(rows[0], row, strict=True)} for row in rows[1:]]


def whole(word: str) -> int:
    value = Decimal(word)
    assert value == int(value)
    return int(value)


def tables(files: dict[str, bytes]) -> Facts:
    nodes, edges = table(files["mine/nodes.csv"]), table(files["mine/edges.csv"])
    graphs = table(files["mine/graphs.csv"]) if "mine/graphs.csv" in files else [{"graph": "0"}]
    number = {whole(row["graph"]): place for place, row in enumerate(graphs)}
    key = [(number[whole(row.get("graph", "0"))], whole(row["node"])) for row in nodes]
    ends = [
        [key.index((number[whole(row.get("graph", "0"))], whole(row[end]))) for end in ("source", "target")]
        for row in edges
    ]
    labelled = graphs if "label" in graphs[0] else nodes
    x = [
        [float(word) for name, word in row.items() if name not in ("graph", "node", "label", "split")] for row in nodes
    ]
    carried = [[row["weight"]] if "weight" in row else [] for row in edges]
    for row, words in zip(edges, carried, strict=True):
        words += [word for name, word in row.items() if name not in ("graph", "source", "target", "weight")]
    pairs = [(*pair, *map(float, words)) for pair, words in zip(ends, carried, strict=True)]
    return facts([graph for graph, _ in key], pairs, [whole(row["label"]) for row in labelled], x if x[0] else None)


def archive(files: dict[str, bytes]) -> Facts:
    with np.load(io.BytesIO(files["mine/data.npz"]), allow_pickle=False) as found:
        content = dict(found)
    x = content["x"].tolist() if "x" in content else None
    edges = content["edge_index"].tolist()
    for name in ("edge_weight", "edge_attr"):
        if name in content:
            edges += content[name].reshape(len(edges[0]), -1).T.tolist()
    return facts(content["batch"].tolist(), list(zip(*edges, strict=True)), content["y"].tolist(), x)


def cells(content: bytes) -> list[list[str]]:
    """Returns the comma-separated words of each line of a gzip text; removes only one line end at the text's end."""
    text = gzip.decompress(content).decode("utf-8-sig").replace("\r\n", "\n").rstrip(" \t")
    lines = text.removesuffix("\n").split("\n")
    return [[word.strip(" \t") for word in line.split(",")] for line in lines]


def ogb_text(files: dict[str, bytes]) -> Facts:
    """Reads a text dataset of OGB: molecules, or one graph with classes of nodes.

    Molecules store each bond in one direction; their labels are numbers, and some may be unknown.
    """
    part = {path.split("/")[-1].removesuffix(".csv.gz"): content for path, content in files.items()}
    number = {name: [int(row[0]) for row in solid(part[name])] for name in ("num-node-list", "num-edge-list")}
    of_nodes, x = "node-label" in part, [[float(word) for word in row] for row in solid(part["node-feat"])]
    ends = [[int(word) for word in row] for row in solid(part["edge"])]
    carried = [[int(word) for word in row] for row in solid(part["edge-feat"])] if "edge-feat" in part else None
    label = part["node-label" if of_nodes else "graph-label"]
    labels = solid(label) if len(solid(label)[0]) == 1 else cells(label)  # empty lines at the end are no labels
    y = [None if word in ("", "nan") else float(word) for row in labels for word in row]
    pairs = [(*pair, *(carried[place] if carried else ())) for place, pair in enumerate(ends)]
    assert carried is None or len(carried) == len(ends)
    split = [[int(row[0]) for row in solid(part[name])] for name in ("train", "valid", "test")]
    return of_runs(number["num-node-list"], number["num-edge-list"], pairs, y, x, not of_nodes) | {"parts": split}


def solid(content: bytes) -> list[list[str]]:
    """Returns the comma-separated words of each line of a gzip text, up to the last line that is not empty."""
    return [[word.strip(" \t") for word in line.split(",")] for line in _stripped(content).split("\n")]


def _stripped(content: bytes) -> str:
    return gzip.decompress(content).decode("utf-8-sig").replace("\r\n", "\n").rstrip("\n \t")


def of_runs(nodes: list[int], edges: list[int], pairs: list[Any], y: list[Any], x: Any, both: bool) -> Facts:
    """Returns the facts of graphs that are stored one after another.

    `nodes`, `edges`: numbers per graph. `pairs`: edges as (source, target, features), relative to the first node of
    their graph. `both`: adds the reverse of each edge.
    """
    assert sum(nodes) == len(x) and sum(edges) == len(pairs) and min(nodes) >= 0 and min(edges) >= 0
    node_graph = [graph for graph, size in enumerate(nodes) for _ in range(size)]
    edge_graph = [graph for graph, size in enumerate(edges) for _ in range(size)]
    found = []
    for graph, (source, target, *carried) in zip(edge_graph, pairs, strict=True):
        first = sum(nodes[:graph])
        assert 0 <= source < nodes[graph] and 0 <= target < nodes[graph]
        found.append((first + source, first + target, *carried))
        if both:
            found.append((first + target, first + source, *carried))
    return facts(node_graph, found, y, x)


def ogb_arrays(files: dict[str, bytes]) -> Facts:
    """Reads an NPZ dataset of OGB with one graph; an unknown class becomes 0."""
    part = {path.split("/")[-1]: content for path, content in files.items()}
    with np.load(io.BytesIO(part["data.npz"]), allow_pickle=False) as data:
        edges = list(zip(*data["edge_index"].tolist(), strict=True))
        sizes = [[int(v) for v in data[f"num_{what}_list"].reshape(-1)] for what in ("nodes", "edges")]
        x = data["node_feat"].astype(np.float64).tolist()
    with np.load(io.BytesIO(part["node-label.npz"]), allow_pickle=False) as file:
        label = file["node_label"].reshape(-1).tolist()
    split = [[int(row[0]) for row in solid(part[f"{name}.csv.gz"])] for name in ("train", "valid", "test")]
    assert all(label[node] == label[node] for each in split for node in each)
    y = [0 if value != value else value for value in label]
    return of_runs(*sizes, edges, y, x, both=False) | {"parts": split}


def tensors(files: dict[str, bytes]) -> Facts:
    ((name, content),) = files.items()
    if name.endswith(".safetensors"):
        found: Any = load(content)
    else:
        with torch.serialization.safe_globals([Data, DataEdgeAttr, DataTensorAttr, GlobalStorage]):
            found = torch.load(io.BytesIO(content), weights_only=True)
    found = Batch.from_data_list(found) if isinstance(found, list) else found
    found = found.to_dict() if isinstance(found, Data) else found
    batch = found.get("batch", torch.zeros(len(found["x"]), dtype=torch.int64)).tolist()
    ids = sorted(set(batch))
    pairs = found["edge_index"].t().tolist()
    x = found["x"].view(len(found["x"]), -1).tolist()
    return facts([ids.index(graph) for graph in batch], [(a, b) for a, b in pairs], [], x)
