"""`dqrun bench inference`: times of programs (FILE|RUN), or of networks on given graphs (graph=, model=)."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dqrun import register
from dqrun.bench import command, program_cli
from dqrun.composition.arguments import VerbParser, add_results
from dqrun.errors import ConfigError

if TYPE_CHECKING:
    from dqrun.bench.inference import Measured

GRAPHS = ("powerlaw", "zinc", "reddit_binary")
ROUNDS = 3
DESCRIPTION = """\
dqrun bench inference gin.dqp --dataset DIR|NAME: a program of yours on graphs of yours, beside ONNX Runtime and its
network in FP32 (ours, PyG, DGL).
dqrun bench inference graph=G model=M: networks with random weights on known graphs."""
EPILOG = """\
graph=: powerlaw (200,000 nodes, 2,000,000 edges, in-degrees by a power law, 128 -> 128 -> 128 -> 40), zinc (10,000
molecules in one batch), reddit_binary (all 2,000 graphs). Weights are random, ranges those of the graph: times do not
depend on training. The peers, PyG and (where it is installed) DGL, have the same weights; the logits of their FP32
networks are checked against ours."""


@dataclass(frozen=True)
class Options:
    """The graph, the models and the threads of a command line; 0 threads: one per usable core."""

    graph: str = "powerlaw"
    models: tuple[str, ...] = ("gcn",)
    threads: int = 0


def main(argv: Sequence[str]) -> int:
    """Measures each program, or each model, and prints its table; returns the exit code."""
    arguments = build_parser().parse_intermixed_args(argv)
    if arguments.rounds is not None:
        command.require_rounds(arguments.rounds)
    files = [word for word in arguments.words if "=" not in word]
    words = [word for word in arguments.words if "=" in word]
    if arguments.threads is not None:
        words.append(f"threads={arguments.threads}")
    if files:
        if others := [word for word in words if not word.startswith("threads=")]:
            raise ConfigError.rule("a measurement of programs", "get threads= alone beside files and flags", others[0])
        return program_cli.measure(files, arguments, parse(words).threads)
    program_cli.refuse_options(arguments)
    rounds = ROUNDS if arguments.rounds is None else arguments.rounds
    options = parse(words)
    output = command.writable(arguments.json)

    from dqrun.bench.inference import compare  # imports torch: only now that the command line is right
    from dqrun.bench.timing import set_threads
    from dqrun.process.memory import keep_freed_memory

    # for all variants: without it PyG's runs, which allocate most, are several times slower
    keep_freed_memory()
    set_threads(options.threads)
    results: list[Measured] = []
    notes: dict[str, Any] = {}
    for model in options.models:
        measured, notes[model] = compare(options.graph, model, rounds)
        results += measured
        print(table(measured, notes[model]), end="\n\n", flush=True)
    command.write(output, results, notes=notes)
    return 0


def build_parser() -> VerbParser:
    """The parser of words and flags."""
    parser = VerbParser(
        prog="dqrun bench inference",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    meaning = "files .dqp or runs to measure; or, without any: graph=, model=gcn,gat,gin; threads= (0: all)"
    parser.add_argument("words", nargs="*", metavar="FILE|RUN|KEY=VALUE", help=meaning)
    parser.add_argument("--dataset", nargs="+", metavar="X", help="graphs for programs, as for dqrun predict")
    parser.add_argument("--batch", type=int, metavar="N", help=f"graphs in a batch (default: {program_cli.BATCH})")
    parser.add_argument("--threads", type=int, metavar="T", help="threads of all variants (default: all cores)")
    parser.add_argument("--profile", action="store_true", help="the time of each operation of a program as well")
    default = f"{ROUNDS}; of programs {program_cli.ROUNDS}"
    parser.add_argument("--rounds", type=int, metavar="N", help=f"times each runs (default: {default})")
    parser.add_argument("--json", metavar="FILE", help=command.JSON)
    add_results(parser)
    return parser


def parse(words: Sequence[str]) -> Options:
    """The options in the words; raises ConfigError for an unknown key or value."""
    chosen: dict[str, Any] = {}
    for word in words:
        key, _, value = word.partition("=")
        if key == "graph":
            _one_of(key, value, GRAPHS)
            chosen["graph"] = value
        elif key == "model":
            for name in value.split(","):
                _one_of(key, name, register.layer.names())
            chosen["models"] = tuple(value.split(","))
        elif key == "threads":
            if not re.fullmatch("[0-9]{1,6}", value):
                raise ConfigError.rule(key, "be an integer in 0..999999", value)
            chosen["threads"] = int(value)
        else:
            raise ConfigError.rule("dqrun bench inference", "get graph=, model= or threads=", word)
    return Options(**chosen)


def table(measured: Sequence[Measured], notes: dict[str, Any]) -> str:
    """The table of one network's variants, followed by its notes."""
    from dqrun.analysis.tables import align

    lines: list[dict[str, Any]] = [
        {
            "variant": command.shown(line.variant, line.form),
            "run": f"{line.run_seconds * 1e3:.1f} ms",
            "x fastest FP32 peer": f"{line.speedup_vs_fastest_fp32_peer:.2f}",
            "x PyG edge_index": f"{line.speedup_vs_pyg_edge_index:.2f}",
            "x own FP32": f"{line.speedup_vs_own_fp32:.2f}",
            "peak memory": f"{line.peak_bytes / 2**20:.1f} MiB",
            "of bandwidth bound": f"{line.fraction_of_bandwidth_bound:.2f}",
        }
        for line in measured
    ]
    text = [f"{measured[0].graph}, {measured[0].model}: float input to logits", align(lines)]
    text.append(f"a copy moves {notes['copy_bytes_per_second'] / 1e9:.1f} GB/s")
    text += [f"{name}: left out, {reason}" for name, reason in notes["left_out"].items()]
    return "\n".join(text)


def _one_of(key: str, value: str, options: Sequence[str]) -> None:
    if value not in options:
        raise ConfigError.rule(key, f"be one of {', '.join(options)}", value)
