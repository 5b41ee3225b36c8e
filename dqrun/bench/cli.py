"""`dqrun bench training [GROUP=OPTION ...]`: side-by-side times as a table and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Any

from dqrun.bench import command
from dqrun.composition.arguments import VerbParser
from dqrun.composition.compose import load_configs
from dqrun.config import RunConfig

if TYPE_CHECKING:
    from dqrun.bench.training import Measured, Pipeline

DEFAULTS = {"quant": "int8,int4", "method": "naive,dq"}  # compared with FP32 by default
ROUNDS = 15
SHOWN_SHARES, SMALLEST_SHARE = 8, 0.02


def main(argv: Sequence[str]) -> int:
    """Runs one benchmark and prints its tables; returns the exit code."""
    if argv[:1] == ["inference"]:
        from dqrun.bench.inference_cli import main as inference

        return inference(argv[1:])
    if argv[:1] == ["scale"]:
        from dqrun.bench.scale_cli import main as scale

        return scale(argv[1:])
    arguments = build_parser().parse_intermixed_args(argv)
    command.require_rounds(arguments.rounds)
    groups = list(workloads(arguments.overrides))
    output = command.writable(arguments.json)

    from dqrun.bench.training import compare  # imports torch: only now that the command line is right

    results: list[Measured] = []
    pipelines: list[Pipeline] = []
    for configs in groups:
        measured, pipeline = compare(configs, arguments.rounds)
        results += measured
        pipelines.append(pipeline)
        print(table(measured, pipeline), end="\n\n", flush=True)
    command.write(output, results, input_pipeline=[asdict(line) for line in pipelines])
    return 0


def build_parser() -> VerbParser:
    """The parser; words except flags are overrides, in which commas separate several values."""
    parser = VerbParser(
        prog="dqrun bench",
        description="Times of one training step: PyG and (where it is installed) DGL in FP32 and BF16, our FP32 and "
        "QAT, interleaved in one process, medians.",
        epilog="example: dqrun bench training dataset=zinc model=gcn,gat,gin threads=2 --json zinc.json",
    )
    meaning = "training: steps of QAT beside FP32 and BF16 of the peers; inference, scale: see their --help"
    parser.add_argument("what", choices=["training", "inference", "scale"], help=meaning)
    parser.add_argument("overrides", nargs="*", metavar="GROUP=OPTION", help="as for the main job (default: threads)")
    command.add_flags(parser, ROUNDS)
    return parser


def workloads(overrides: Sequence[str]) -> Iterator[list[RunConfig]]:
    """The configurations to measure, grouped by dataset and architecture; FP32 is the first of each group."""
    given = {word.split("=")[0] for word in overrides}
    words = [*overrides, *(f"{key}={values}" for key, values in DEFAULTS.items() if key not in given)]
    exact = [*(word for word in overrides if word.split("=")[0] not in DEFAULTS), "quant=fp32"]
    configs = [*load_configs(exact, multirun=True), *load_configs(words, multirun=True)]

    def key(config: RunConfig) -> tuple[str, str]:
        return config.dataset.name, config.model.name

    for _, group in groupby(sorted(configs, key=key), key=key):
        fp32, *others = group
        yield [fp32, *(config for config in others if not config.quant.is_fp32)]


def table(measured: Sequence[Measured], pipeline: Pipeline) -> str:
    """The table of one comparison, followed by the operations that take most of the time."""
    from dqrun.analysis.tables import align

    lines: list[dict[str, Any]] = [
        {
            "variant": command.shown(line.variant, line.form),
            "step": f"{line.step_seconds * 1e3:.2f} ms",
            "/ fastest FP32 peer": f"{line.ratio_to_fastest_fp32_peer:.2f}",
            "peak memory": f"{line.peak_bytes / 2**20:.1f} MiB",
        }
        for line in measured
    ]
    text = [f"{measured[0].dataset}, {measured[0].model}: one training step", align(lines), "", "share of the time"]
    for line in measured:
        if not line.form:
            shown = [item for item in line.shares.items() if item[1] >= SMALLEST_SHARE][:SHOWN_SHARES]
            text.append(f"  {line.variant}: " + ", ".join(f"{name} {value:.0%}" for name, value in shown))
    text += [
        "",
        *(f"{name}: left out, {reason}" for name, reason in pipeline.left_out.items()),
        f"input pipeline: {pipeline.batches_seconds * 1e3:.1f} ms an epoch, {pipeline.share_of_epoch:.1%} of it",
    ]
    return "\n".join(text)
