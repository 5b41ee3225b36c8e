"""The structure and the features of a batch, in the form that layers and kernels take."""

from dqrun.graphs.batch import Batch
from dqrun.graphs.csr import CSR, ForwardEdges, InEdges
from dqrun.graphs.graph import Graph
from dqrun.graphs.sparse_rows import Rows, SparseRows, Sparsity, dense, sparse_if_few

__all__ = [
    "CSR",
    "Batch",
    "ForwardEdges",
    "Graph",
    "InEdges",
    "Rows",
    "SparseRows",
    "Sparsity",
    "dense",
    "sparse_if_few",
]
