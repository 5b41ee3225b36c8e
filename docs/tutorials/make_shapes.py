"""Writes shapes/: 200 graphs, half of them rings and half stars, with some random edges, as CSV files."""

import csv
import random
from pathlib import Path

random.seed(0)
graphs, nodes, edges = [["graph", "label"]], [["graph", "node"]], [["graph", "source", "target"]]
for graph in range(200):
    kind, size = ("ring", "star")[graph % 2], random.randint(8, 20)
    pairs = [(0, node) if kind == "star" else (node - 1, node) for node in range(1, size)] + [(0, size - 1)]
    pairs += [tuple(sorted(random.sample(range(size), 2))) for _ in range(size // 4)]
    graphs.append([graph, kind])
    nodes += [[graph, node] for node in range(size)]
    edges += [[graph, *ends] for one, other in sorted(set(pairs)) for ends in ((one, other), (other, one))]
folder = Path("shapes")
folder.mkdir(exist_ok=True)
for name, lines in (("graphs", graphs), ("nodes", nodes), ("edges", edges)):
    with open(folder / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(lines)
