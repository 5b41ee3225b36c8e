"""`dqrun bench inference FILE|RUN ... --dataset X`: the table, the JSON file, and the checks of the words."""

from __future__ import annotations

import sys
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dqrun.bench import command
from dqrun.errors import ConfigError

if TYPE_CHECKING:
    from dqrun.bench.program import Measured, Notes

BATCH, ROUNDS = 128, 20
OPTIONS = ("dataset", "batch", "profile")
"""Flags that only measurements of programs have."""


def refuse_options(arguments: Namespace) -> None:
    """Raises ConfigError for a flag of programs if no program is named."""
    for name in OPTIONS:
        value = getattr(arguments, name)
        if value is not None and value is not False:
            raise ConfigError.rule(f"--{name}", "be given with a program's file or a run", value)


def measure(files: list[str], arguments: Namespace, threads: int) -> int:
    """Measures each program and prints its tables; returns the exit code."""
    if not arguments.dataset:
        raise ConfigError("--dataset must name the graphs on which the program runs: a folder, files, or a dataset")
    size = BATCH if arguments.batch is None else arguments.batch
    if size < 1:
        raise ConfigError.rule("--batch", "be >= 1", size)
    output = command.writable(arguments.json)

    from dqrun.bench.program import Batches, compare  # imports torch: only now that the command line is right
    from dqrun.bench.subject import Subject
    from dqrun.bench.timing import set_threads
    from dqrun.prediction.graphs import find_graphs
    from dqrun.process.memory import keep_freed_memory

    keep_freed_memory()
    set_threads(threads)
    results: list[Measured] = []
    notes: dict[str, Any] = {}
    for word in files:
        subject = Subject.load(word, Path(arguments.results))
        trained_on = subject.predictor.trained_on
        graphs = find_graphs(arguments.dataset, trained_on, lambda text: print(f"dqrun: {text}", file=sys.stderr))
        batches = Batches.of(subject, graphs, size)
        measured, said = compare(subject, batches, arguments.rounds or ROUNDS, bool(arguments.profile))
        results += measured
        notes[word] = asdict(said)
        print(table(measured, said, word), end="\n\n", flush=True)
    command.write(output, results, notes=notes)
    return 0


def table(measured: list[Measured], notes: Notes, word: str) -> str:
    """The table of one program's variants, its operations if they were measured, and its notes."""
    from dqrun.analysis.tables import align

    first = measured[0]
    lines: list[dict[str, Any]] = [
        {
            "variant": _shown(line),
            "median": f"{line.run_seconds * 1e3:.2f} ms",
            "95th percentile": f"{line.p95_seconds * 1e3:.2f} ms",
            "items/s": f"{line.items_per_second:,.0f}",
            "x fastest FP32 peer": _or_dash(line.speedup_vs_fastest_fp32_peer, "{:.2f}"),
            "peak memory": _or_dash(None if line.peak_bytes is None else line.peak_bytes / 2**20, "{:.1f} MiB"),
        }
        for line in measured
    ]
    title = f"{word} on {first.graph}: batches of {first.batch_size} graphs, {first.threads} threads"
    text = [title, align(lines)]
    if notes.operations:
        shown = [
            {
                "operation": each.kind,
                "result": each.target,
                "median": f"{each.seconds * 1e3:.3f} ms",
                "share": f"{each.share:.0%}",
            }
            for each in notes.operations
        ]
        text += ["", "operations of the program", align(shown)]
    if notes.weights:
        text.append(f"FP32 networks have {notes.weights} weights")
    if notes.onnx_difference_in_steps is not None:
        text.append(
            f"ONNX Runtime's logits differ by {notes.onnx_difference_in_steps:.2g} steps of the last sum at most"
        )
    text += [f"{name}: left out, {reason}" for name, reason in notes.left_out.items()]
    return "\n".join(text)


def _shown(line: Measured) -> str:
    if line.from_edge_index:
        return f"{line.variant.removesuffix('_edge_index')} from edge_index"
    return command.shown(line.variant, line.form)


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
