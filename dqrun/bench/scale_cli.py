"""`dqrun bench scale [PART ...] [GROUP=OPTION ...]`: training on large graphs, which are generated."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dqrun.bench import command
from dqrun.composition.arguments import VerbParser
from dqrun.composition.compose import load_configs
from dqrun.config import RunConfig
from dqrun.config.rules import require_in, require_one_of
from dqrun.errors import ConfigError

if TYPE_CHECKING:
    from dqrun.bench.scale import FullBatch, Growth, Sampled

PARTS = ("full", "sampled", "growth")
FORMS = ("edge_index", "adj_t", "EdgeIndex")
"""The keys of `peers.EDGE_FORMS`, repeated here because that module imports torch."""
ROUNDS = 5
MOST_DIVIDED = 5000  # 33 nodes, which can have 463 edges without a repeated one
SET = ["dataset=ogb", "model=gcn", "model.encoder=none", "method=dq"]
FULL = ["dataset.name=ogbn-arxiv", "model.layers=3", "model.hidden=256"]
LOADER = ["loader=neighbor", "loader.fanouts=[10,5]", "loader.batch_size=1024", "loader.block=600000"]
SAMPLED = ["dataset.name=ogbn-products", "model.layers=2", "model.hidden=128", *LOADER]
QUANT = {"full": "quant=fp32,int8,int4", "sampled": "quant=int8", "growth": "quant=int8"}
DESCRIPTION = """\
Times and memory of training on generated graphs, in-degrees by a power law.
full: a step on the whole graph of ogbn-arxiv's size (169,343 nodes, 2,315,598 edges), beside PyG in FP32.
sampled: ogbn-products' size (2,449,029 nodes, 123,718,280 edges): batches a second, an epoch, the whole graph.
growth: a sampled step on graphs of 100,000 to 2,449,029 nodes."""


def main(argv: Sequence[str]) -> int:
    """Measures the parts and prints a table for each; returns the exit code."""
    arguments = build_parser().parse_intermixed_args(argv)
    command.require_rounds(arguments.rounds)
    require_in("--divide", arguments.divide, 1, MOST_DIVIDED)
    for form in arguments.forms.split(","):
        require_one_of("--forms", form, FORMS)
    parts = [word for word in arguments.words if "=" not in word] or list(PARTS)
    for part in parts:
        if part not in PARTS:
            raise ConfigError.rule("a part", f"be one of {', '.join(PARTS)}", part)
    words = [word for word in arguments.words if "=" in word]
    configs = {part: configs_of(part, words) for part in parts}
    output = command.writable(arguments.json)

    from dqrun.bench.timing import set_threads
    from dqrun.process.memory import keep_freed_memory

    keep_freed_memory()
    set_threads(configs[parts[0]][0].threads)
    results: list[FullBatch | Sampled | Growth] = []
    for part in parts:
        measured = measure(part, configs[part], arguments)
        print(table(part, measured), end="\n\n", flush=True)
        results += measured
    command.write(output, results)
    return 0


def build_parser() -> VerbParser:
    """The parser of words and flags."""
    parser = VerbParser(
        prog="dqrun bench scale", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", nargs="*", metavar="PART|GROUP=OPTION", help=f"{', '.join(PARTS)} (default: all)")
    parser.add_argument("--divide", type=int, default=1, metavar="N", help="graphs of 1/N of these sizes")
    help_of_forms = "full: the forms of edges that PyG is given; edge_index needs more than 22 GB (default: all)"
    parser.add_argument("--forms", default=",".join(FORMS), metavar="FORM,...", help=help_of_forms)
    command.add_flags(parser, ROUNDS)
    return parser


def configs_of(part: str, words: Sequence[str]) -> list[RunConfig]:
    """The configurations of a part: its own words, then those of the command line, which override them."""
    return load_configs([*SET, *(FULL if part == "full" else SAMPLED), QUANT[part], *words], multirun=True)


def measure(part: str, configs: Sequence[RunConfig], arguments: argparse.Namespace) -> list[Any]:
    """Measures one part; returns its lines."""
    from dqrun.bench import scale  # imports torch: only now that the command line is right

    rounds, divisor = arguments.rounds, arguments.divide
    if part == "full":
        return list(scale.full_batch(configs, rounds, divisor, arguments.forms.split(",")))
    if part == "sampled":
        return [scale.sampled(config, divisor) for config in configs]
    return [line for config in configs for line in scale.growth(config, rounds, divisor)]


def table(part: str, measured: Sequence[Any]) -> str:
    """The table of one part, after its name."""
    from dqrun.analysis.tables import align

    return f"{part}\n{align([LINES[part](line) for line in measured])}"


def _full(line: FullBatch) -> dict[str, Any]:
    return {
        "variant": line.variant,
        "step": f"{line.step_seconds * 1e3:.0f} ms",
        "/ fastest PyG": f"{line.ratio_to_fastest_pyg:.2f}",
        "peak memory": f"{line.peak_bytes / 2**20:.0f} MiB",
        "/ smallest PyG": f"{line.ratio_to_smallest_pyg:.2f}",
    }


def _sampled(line: Sampled) -> dict[str, Any]:
    return {
        "variant": line.variant,
        "batches/s": f"{line.batches_per_second:.1f}",
        "nodes, edges": f"{line.nodes_per_batch:,.0f}, {line.edges_per_batch:,.0f}",
        "epoch": f"{line.epoch_seconds:.1f} s",
        "whole graph": f"{line.evaluation_seconds:.1f} s",
        "data": f"{line.data_seconds:.1f} s",
        "peak memory": f"{line.peak_bytes / 1e9:.2f} GB",
    }


def _growth(line: Growth) -> dict[str, Any]:
    return {
        "variant": line.variant,
        "nodes": f"{line.nodes:,}",
        "edges": f"{line.edges:,}",
        "step": f"{line.step_seconds * 1e3:.1f} ms",
        "ratio": f"{line.ratio:.2f}",
    }


LINES: dict[str, Any] = {"full": _full, "sampled": _sampled, "growth": _growth}
