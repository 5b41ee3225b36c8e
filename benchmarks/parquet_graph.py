"""A node-classification set of 100 million edges as a folder of Parquet and NPY files:
`python benchmarks/parquet_graph.py FOLDER [--nodes N] [--edges E] [--features F]`.

A class is a community: an edge joins nodes of one community with probability 0.7; in-degrees follow a power law;
features are the mean of the community and noise of six times its size, so that neighbours help. Edges are written in
row groups of four million: memory does not grow with their number.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
from tqdm import tqdm

CLASSES, SAME, NOISE, EXPONENT = 10, 0.7, 6.0, 2.5
AT_ONCE = 1 << 22


def write_edges(path: Path, community: np.ndarray, edges: int, draw: np.random.Generator) -> None:
    """Writes edges: targets by a power law; sources with probability SAME of the target's community, else of any."""
    nodes = community.size
    upto = np.cumsum(np.arange(1, nodes + 1) ** (-1 / (EXPONENT - 1)))
    members = np.argsort(community, kind="stable").astype(np.int32)
    first = np.searchsorted(community[members], np.arange(CLASSES + 1))
    name = draw.permutation(nodes).astype(np.int32)
    schema = arrow.schema([("source", arrow.int32()), ("target", arrow.int32())])
    with parquet.ParquetWriter(path, schema) as writer:
        for begin in tqdm(range(0, edges, AT_ONCE), desc="edges", disable=None):
            count = min(AT_ONCE, edges - begin)
            target = name[np.searchsorted(upto, draw.random(count) * upto[-1]).clip(max=nodes - 1)]
            group = np.where(draw.random(count) < SAME, community[target], draw.integers(0, CLASSES, count))
            place = first[group] + (draw.random(count) * (first[group + 1] - first[group])).astype(np.int64)
            writer.write_table(arrow.table({"source": members[place], "target": target}, schema))


def write_nodes(folder: Path, community: np.ndarray, features: int, draw: np.random.Generator) -> None:
    """Writes `nodes.parquet` with labels and a split of 10, 5 and 85 %, and `x.npy`."""
    nodes = community.size
    split = np.array(["train", "val", "test"])[np.searchsorted([0.10, 0.15], draw.random(nodes))]
    table = {"node": np.arange(nodes), "label": community.astype(np.int64), "split": split}
    parquet.write_table(arrow.table(table), folder / "nodes.parquet")
    mean = draw.standard_normal((CLASSES, features), np.float32)
    x = np.lib.format.open_memmap(folder / "x.npy", "w+", np.float32, (nodes, features))
    for begin in range(0, nodes, 1 << 16):
        part = slice(begin, min(begin + (1 << 16), nodes))
        x[part] = mean[community[part]] + NOISE * draw.standard_normal((part.stop - part.start, features), np.float32)
    x.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the folder; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--nodes", type=int, default=2_000_000)
    parser.add_argument("--edges", type=int, default=100_000_000)
    parser.add_argument("--features", type=int, default=64)
    arguments = parser.parse_args(argv)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    community = draw.integers(0, CLASSES, arguments.nodes).astype(np.int32)
    write_edges(arguments.folder / "edges.parquet", community, arguments.edges, draw)
    write_nodes(arguments.folder, community, arguments.features, draw)
    return 0


if __name__ == "__main__":
    sys.exit(main())
