"""`dqrun robustness RUN...`: metrics of trained networks whose input or weights are wrong, as CSV."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dqrun.cli.verbs.runs import find_trial
from dqrun.composition.arguments import VerbParser, add_results
from dqrun.errors import ConfigError

EDGES, FEATURES, FLIPS = "--edges", "--features", "--flips"


def main(argv: Sequence[str]) -> int:
    """Writes a line for each run and amount. Returns the exit code."""
    arguments = build_parser().parse_args(argv)
    edges, features = (_rates(name, getattr(arguments, name[2:])) for name in (EDGES, FEATURES))
    flips = _amounts(FLIPS, arguments.flips)
    if not (edges or features or flips):
        raise ConfigError(f"dqrun robustness must be given {EDGES}, {FEATURES} or {FLIPS}")
    if arguments.draws < 1:
        raise ConfigError.rule("--draws", "be >= 1", arguments.draws)
    if not 0 <= arguments.seed < 2**32:
        raise ConfigError.rule("--seed", "be in 0..2^32 - 1", arguments.seed)
    trials = [find_trial(run, Path(arguments.results)) for run in arguments.run]
    from dqrun.analysis import robustness  # imports torch: only now that the command line is right
    from dqrun.analysis.networks import Datasets

    exposure = robustness.Exposure(edges, features, flips, arguments.draws, arguments.seed, arguments.part)
    datasets = Datasets()
    found = (line for trial in trials for line in robustness.findings(trial, datasets, exposure))
    if arguments.output is None:
        robustness.write_findings(sys.stdout, found)
        return 0
    from dqrun.durable import replacing

    with replacing(Path(arguments.output)) as part, part.open("w", encoding="utf-8", newline="") as stream:
        robustness.write_findings(stream, found)
    return 0


def build_parser() -> VerbParser:
    """The words of the verb."""
    parser = VerbParser(
        prog="dqrun robustness",
        description="Evaluates trained networks with wrong edges, wrong features or flipped bits of their weights.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", nargs="+", metavar="RUN", help="run folders, or names of runs in the results folder")
    rates = "shares in [0, 1], as 0.05,0.1: "
    parser.add_argument(EDGES, metavar="RATES", help=f"{rates}of the edges, which get another source in their graph")
    parser.add_argument(FEATURES, metavar="RATES", help=f"{rates}of the features, which get another node's value")
    flips = "bits of the codes of quantised weights that flip: numbers, or shares below 1, as 1,10,0.01"
    parser.add_argument(FLIPS, metavar="AMOUNTS", help=flips)
    parser.add_argument("--draws", type=int, default=5, metavar="N", help="random draws of each (default: 5)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the first draw (default: 0)")
    parts = ("train", "val", "test")
    parser.add_argument("--part", choices=parts, default="test", help="part of the data (default: test)")
    parser.add_argument("-o", "--output", metavar="CSV", help="default: standard output")
    add_results(parser)
    return parser


def _rates(name: str, text: str | None) -> tuple[float, ...]:
    found = _amounts(name, text)
    for rate in found:
        if rate > 1:
            raise ConfigError.rule(name, "be shares in [0, 1]", rate)
    return found


def _amounts(name: str, text: str | None) -> tuple[float, ...]:
    """Numbers >= 0 between commas, whole if >= 1; () for None. Raises ConfigError for other text."""
    try:
        found = () if text is None else tuple(float(word) for word in text.split(","))
    except ValueError:
        raise ConfigError.rule(name, "be numbers between commas", text) from None
    for amount in found:
        if not (0 <= amount < 1 or (1 <= amount < 2**63 and amount == int(amount))):
            raise ConfigError.rule(name, "be whole numbers >= 1, or shares in [0, 1)", amount)
    return found
