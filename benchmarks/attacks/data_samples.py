"""Small whole datasets, one for each source and format: file contents by path, which `data.py` then damages."""

from __future__ import annotations

import io
import pickle
from collections import defaultdict

import numpy as np
import torch
from safetensors.torch import save
from scipy.sparse import csr_matrix
from torch_geometric.data import Data

Files = dict[str, bytes]


def tu() -> Files:
    """TOY: paths of 3..8 nodes with attributes and labels."""
    edges, owner, labels, attributes, first = "", "", "", "", 1
    for graph in range(6):
        size = 3 + graph
        owner += f"{graph + 1}\n" * size
        labels += "".join(f"{node % 2}\n" for node in range(size))
        attributes += "".join(f"{node / 7:.6f}, {-graph}e-1\n" for node in range(size))
        edges += "".join(f"{node}, {node + 1}\n{node + 1}, {node}\n" for node in range(first, first + size - 1))
        first += size
    targets = "".join(f"{1 if graph % 2 else -1}\n" for graph in range(6))
    parts = {"A": edges, "graph_indicator": owner, "graph_labels": targets, "node_labels": labels}
    parts["node_attributes"] = attributes
    return {f"TOY/raw/TOY_{part}.txt": text.encode() for part, text in parts.items()}


def planetoid() -> Files:
    """A ring of 517 nodes in the format of Cora."""

    def words(rows: int, first: int) -> csr_matrix:
        columns = (first + np.arange(rows)) % 4
        return csr_matrix((np.ones(rows, np.float32), columns, np.arange(rows + 1)), (rows, 4))

    def classes(rows: int, first: int) -> np.ndarray:
        return np.eye(2, dtype=np.int32)[(first + np.arange(rows)) % 2]

    graph = defaultdict(list, {node: [(node + 1) % 517, node] for node in range(517)})
    parts = {"x": words(10, 0), "y": classes(10, 0), "allx": words(510, 0), "ally": classes(510, 0)}
    parts |= {"tx": words(6, 1), "ty": classes(6, 1), "graph": graph}
    files = {f"Cora/raw/ind.cora.{part}": pickle.dumps(value, 2) for part, value in parts.items()}
    return files | {"Cora/raw/ind.cora.test.index": b"511\n510\n516\n515\n513\n514\n"}


def molecule(atoms: int) -> dict[str, torch.Tensor]:
    bonds = torch.diag(torch.ones(atoms - 1, dtype=torch.uint8), 1)
    atom_type = torch.arange(atoms, dtype=torch.uint8)
    return {
        "atom_type": atom_type,
        "bond_type": bonds + bonds.T,
        "logP_SA_cycle_normalized": torch.tensor([atoms / 2]),
    }


def zinc() -> Files:
    """Chains of atoms, all of which are named: what no index names is not looked at."""
    files = {}
    for part, size in (("train", 5), ("val", 2), ("test", 3)):
        files[f"ZINC/raw/{part}.pickle"] = pickle.dumps([molecule(3 + number) for number in range(size)])
        files[f"ZINC/raw/{part}.index"] = (",".join(str(size - 1 - number) for number in range(size)) + "\n").encode()
    return files


def ring(nodes: int) -> dict[str, torch.Tensor]:
    ids = torch.arange(nodes)
    x = torch.linspace(0, 1, nodes).unsqueeze(1)
    return {
        "x": x,
        "pos": x.repeat(1, 2),
        "edge_index": torch.stack([ids, ids.roll(1)]),
        "y": torch.tensor([nodes % 10]),
    }


def gnn_benchmark() -> Files:
    """Rings in the format of MNIST."""
    parts = [[ring(4 + number % 3) for number in range(size)] for size in (6, 3, 4)]
    return {"MNIST/raw/MNIST_v2.pt": saved(parts)}


def saved(content: object, zipped: bool = True) -> bytes:
    """What `torch.save` writes."""
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=zipped)
    return stream.getvalue()


def graph_tables() -> Files:
    nodes = "".join(f"{graph},{2**53 + node},{node}.5,{graph}e-3\n" for graph in range(6) for node in range(3))
    edges = "".join(f"{graph},{2**53 + a},{2**53 + b}\n" for graph in range(6) for a, b in ((0, 1), (1, 0), (1, 2)))
    graphs = "".join(f"{graph},{graph % 2},{('train', 'val', 'test')[graph % 3]}\n" for graph in range(6))
    tables = {"graphs": f"graph,label,split\n{graphs}", "nodes": f"graph,node,a,b\n{nodes}"}
    tables["edges"] = f"graph,source,target\n{edges}"
    return {f"mine/{name}.csv": text.encode() for name, text in tables.items()}


def node_tables() -> Files:
    nodes = "".join(f"{7 * node},{node % 3},{node / 3:.9f}\n" for node in range(9))
    edges = "".join(f"{7 * node},{7 * ((node + 1) % 9)}\n" for node in range(9))
    return {"mine/nodes.csv": f"node,label,a\n{nodes}".encode(), "mine/edges.csv": f"source,target\n{edges}".encode()}


def arrays() -> dict[str, np.ndarray]:
    edges = np.array([[0, 1, 2, 4, 3], [1, 0, 3, 2, 4]])
    batch = np.array([0, 0, 1, 1, 1])
    return {"edge_index": edges, "batch": batch, "y": np.array([1, 0]), "x": np.linspace(-1, 1, 10).reshape(5, 2)}


def archive(content: dict[str, np.ndarray] | None = None, compressed: bool = False) -> Files:
    stream = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(stream, **(arrays() if content is None else content))
    return {"mine/data.npz": stream.getvalue()}


def tensors() -> list[Files]:
    """Files for prediction: named tensors in both formats, and PyG's objects."""
    named = {"x": torch.randn(5, 3, generator=torch.Generator().manual_seed(0))}
    named |= {"edge_index": torch.from_numpy(arrays()["edge_index"]), "batch": torch.from_numpy(arrays()["batch"])}
    graphs = [Data(**{key: ring(size)[key] for key in ("x", "edge_index", "y")}) for size in (3, 5)]
    contents = (named, graphs[0], graphs)
    files = [{"g.pt": saved(content, zipped)} for content in contents for zipped in (True, False)]
    return [*files, {"g.safetensors": save(named)}]
