"""`dqrun export --format c`: a program as a C library for graphs up to a size."""

from __future__ import annotations

import re
from argparse import Namespace
from pathlib import Path

from dqrun.cli.verbs.export_check import check
from dqrun.cli.verbs.exporting import Export, writing
from dqrun.config import DataConfig
from dqrun.data.stored import load_stored
from dqrun.errors import ConfigError
from dqrun.integer.c import Library, Limits, write_library


def write(export: Export, output: Path, arguments: Namespace) -> list[str]:
    """Writes the library into the folder `output` and returns lines about its size and, with --check, its agreement.

    Raises ConfigError for a program without a form in C, and if limits are missing for a program from a file; DataError
    if the run's data are missing, ResultsError if the folder cannot be written.
    """
    run = export.require_run("--check") if arguments.check else None
    library = make_library(export, arguments)
    with writing(output):
        written = write_library(library, output)
    limits = library.limits
    lines = [
        f"{output}: {', '.join(path.name for path in written)}",
        f"up to {limits.nodes} nodes and {limits.edges} edges; constants: {library.flash_bytes} bytes, static memory: "
        f"{library.ram_bytes} bytes; no floats",
    ]
    return lines if run is None else [*lines, *check(export.program, run, library)]


def make_library(export: Export, arguments: Namespace) -> Library:
    """The library for the words of the command line.

    Without --max-nodes or --max-edges, the limit is the maximum over the graphs of the run's dataset.
    """
    origin = export.program.origin
    if origin.get("features", {}).get("edge_weights"):
        raise ConfigError("--format c has no weights of edges, which this network reads: they are floats")
    nodes, edges = arguments.max_nodes, arguments.max_edges
    if nodes is None or edges is None:
        config = export.require_run("--format c without --max-nodes and --max-edges").config
        packed = load_stored(config.dataset, DataConfig()).packed
        nodes = int(packed.node_ptr.diff().max()) if nodes is None else nodes
        edges = max(int(packed.edge_ptr.diff().max()), 1) if edges is None else edges
    name = arguments.name or name_of(export)
    return Library(export.program.with_epilogue("fixed"), Limits(nodes, edges, arguments.max_degree), name)


def name_of(export: Export) -> str:
    """The default name of the library: model and widths, e.g. `gin_int4`; `dqrun_program` for a program from a file."""
    if export.run is None:
        return "dqrun_program"
    config = export.run.config
    return re.sub(r"\W+", "_", f"{config.model.name}_{config.quant.label}".lower())
