"""Small undamaged datasets in several formats, as file contents by path; `data.py` damages them."""

from __future__ import annotations

import gzip
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
    """Six paths of 3..8 nodes in the format of TU, named TOY; nodes and edges have attributes and labels."""
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
    parts |= {"node_attributes": attributes, "edge_attributes": "", "edge_labels": ""}
    for number, _ in enumerate(edges.splitlines()):
        parts["edge_attributes"] += f"{number / 3:.3f}\n"
        parts["edge_labels"] += f"{1 + number % 3}\n"
    return {f"TOY/raw/TOY_{part}.txt": text.encode() for part, text in parts.items()}


def planetoid() -> Files:
    """A ring of 517 nodes with self-loops, in the format of Cora."""

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
    """Chains of 3..7 atoms. The index files list every molecule, because dqrun ignores unlisted molecules."""
    files = {}
    for part, size in (("train", 5), ("val", 2), ("test", 3)):
        files[f"ZINC/raw/{part}.pickle"] = pickle.dumps([molecule(3 + number) for number in range(size)])
        files[f"ZINC/raw/{part}.index"] = (",".join(str(size - 1 - number) for number in range(size)) + "\n").encode()
    return files


def zipped(name: str, texts: dict[str, str]) -> Files:
    """Compresses `texts` and returns them under the paths of the OGB dataset `name`."""
    return {f"ogb/{name}/{path}.csv.gz": gzip.compress(text.encode(), mtime=0) for path, text in texts.items()}


def parts(split: str, train: str, valid: str, test: str) -> dict[str, str]:
    """Returns the texts of an OGB split by path without suffix."""
    return {f"split/{split}/{name}": ids for name, ids in (("train", train), ("valid", valid), ("test", test))}


def ogb_molecules() -> Files:
    """Chains of 2..4 atoms, with one direction of each bond, in the format of ogbg-molclintox; one label is unknown."""
    sizes = (2, 3, 4, 3, 2, 4)
    nodes = [(graph, atom) for graph, size in enumerate(sizes) for atom in range(size)]
    bonds = [(graph, atom) for graph, atom in nodes if atom + 1 < sizes[graph]]
    texts = {
        "raw/num-node-list": "".join(f"{size}\n" for size in sizes),
        "raw/num-edge-list": "".join(f"{size - 1}\n" for size in sizes),
        "raw/node-feat": "".join(f"{5 + atom},{graph},0\n" for graph, atom in nodes),
        "raw/edge": "".join(f"{atom},{atom + 1}\n" for _, atom in bonds),
        "raw/edge-feat": "".join(f"{atom % 2},{graph % 3}\n" for graph, atom in bonds),
        "raw/graph-label": "1,0\n0,1\n,1\n1,1\n0,0\n1,0\n",
    }
    return zipped("ogbg_molclintox", texts | parts("scaffold", "0\n2\n5\n", "1\n", "4\n3\n"))


def ogb_numbers() -> Files:
    """Single atoms and pairs of atoms, in the format of ogbg-molesol."""
    texts = {
        "raw/num-node-list": "1\n2\n1\n2\n",
        "raw/num-edge-list": "0\n1\n0\n1\n",
        "raw/node-feat": "".join(f"{atom},{atom // 2}\n" for atom in range(6)),
        "raw/edge": "0,1\n1,0\n",
        "raw/edge-feat": "3\n1\n",
        "raw/graph-label": "-0.77\n-3.3\n2.0e-1\n-7.87\n",
    }
    return zipped("ogbg_molesol", texts | parts("scaffold", "3\n0\n", "1\n", "2\n"))


def ogb_nodes() -> Files:
    """A ring of 7 nodes in the format of ogbn-arxiv."""
    texts = {
        "raw/num-node-list": "7\n",
        "raw/num-edge-list": "7\n",
        "raw/node-feat": "".join(f"{node / 7:.6f},-{node}e-1\n" for node in range(7)),
        "raw/edge": "".join(f"{node},{(node + 1) % 7}\n" for node in range(7)),
        "raw/node-label": "".join(f"{node % 3}\n" for node in range(7)),
    }
    return zipped("ogbn_arxiv", texts | parts("time", "0\n1\n2\n", "4\n", "3\n5\n6\n"))


def ogb_arrays() -> Files:
    """A ring of 5 nodes in the format of ogbn-papers100M; one class is unknown."""
    ids = np.arange(5)
    data = {
        "edge_index": np.stack([ids, (ids + 1) % 5]),
        "num_nodes_list": np.array([5]),
        "num_edges_list": np.array([5]),
        "node_feat": np.linspace(-1, 1, 10, dtype=np.float16).reshape(5, 2),
    }
    label = {"node_label": np.array([[0], [1], [np.nan], [2], [1]], np.float32)}
    top = "ogb/ogbn_papers100M"
    return {
        f"{top}/raw/data.npz": archived(data),
        f"{top}/raw/node-label.npz": archived(label),
        **zipped("ogbn_papers100M", parts("time", "0\n3\n", "1\n", "4\n")),
    }


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
    """Rings of 4..6 nodes in the format of MNIST superpixels."""
    parts = [[ring(4 + number % 3) for number in range(size)] for size in (6, 3, 4)]
    return {"MNIST/raw/MNIST_v2.pt": saved(parts)}


def saved(content: object, zipped: bool = True) -> bytes:
    """Returns the bytes that `torch.save` writes, as a ZIP archive or in the older format."""
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
    edges = "".join(f"{7 * node},{7 * ((node + 1) % 9)},{node / 4},-{node}e-2\n" for node in range(9))
    tables = {"nodes": f"node,label,a\n{nodes}", "edges": f"source,target,weight,b\n{edges}"}
    return {f"mine/{name}.csv": text.encode() for name, text in tables.items()}


def arrays() -> dict[str, np.ndarray]:
    edges = np.array([[0, 1, 2, 4, 3], [1, 0, 3, 2, 4]])
    batch = np.array([0, 0, 1, 1, 1])
    return {"edge_index": edges, "batch": batch, "y": np.array([1, 0]), "x": np.linspace(-1, 1, 10).reshape(5, 2)}


def archived(content: dict[str, np.ndarray], compressed: bool = False) -> bytes:
    """Returns the bytes of an NPZ file."""
    stream = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(stream, **content)
    return stream.getvalue()


def archive(compressed: bool = False) -> Files:
    return {"mine/data.npz": archived(arrays(), compressed)}


def weighted_archive() -> Files:
    """The dataset of `archive` with weights and features of edges."""
    edges = {"edge_weight": np.array([0.5, 1, 0, 2, 3]), "edge_attr": np.arange(10).reshape(5, 2) / 4}
    return {"mine/data.npz": archived(arrays() | edges)}


def tensors() -> list[Files]:
    """Files for prediction, one per item: named tensors and PyG's objects in both formats of torch, and safetensors."""
    named = {"x": torch.randn(5, 3, generator=torch.Generator().manual_seed(0))}
    named |= {"edge_index": torch.from_numpy(arrays()["edge_index"]), "batch": torch.from_numpy(arrays()["batch"])}
    graphs = [Data(**{key: ring(size)[key] for key in ("x", "edge_index", "y")}) for size in (3, 5)]
    contents = (named, graphs[0], graphs)
    files = [{"g.pt": saved(content, zipped)} for content in contents for zipped in (True, False)]
    return [*files, {"g.safetensors": save(named)}]
