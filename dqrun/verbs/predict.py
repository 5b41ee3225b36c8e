"""`dqrun predict FILE --dataset ...`: what an integer program says of graphs, as CSV."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

from dqrun.arguments import VerbParser
from dqrun.errors import ConfigError

DATASET_HELP = """\
graphs to predict: the name of a dataset (an option of the group dataset=, or the one of training); a folder in dqrun's
format; a file of PyG's tensors x, edge_index and, for several graphs, batch (.safetensors, or .pt with a plain
dictionary); or two files of one graph: edges as CSV (source,target) and node features as CSV or NPY"""


def main(argv: Sequence[str]) -> int:
    """Writes one line per graph, or per node: its place, the prediction, the logits and, where known, the target."""
    arguments = build_parser().parse_args(argv)
    if arguments.threads is not None and arguments.threads < 1:
        raise ConfigError.rule("--threads", "be >= 1", arguments.threads)
    from dqrun.cores import use_threads  # these import torch: only now that the command line is right
    from dqrun.engine import load_program
    from dqrun.verbs.predicting import find_graphs, opened, predict, write_predictions

    program = load_program(arguments.file)
    dataset = find_graphs(arguments.dataset, program)
    if arguments.threads:
        use_threads(arguments.threads, partial(print, file=sys.stderr))
    logits = predict(program, dataset)
    with opened(arguments.output) as stream:
        write_predictions(stream, logits, dataset, program)
    return 0


def build_parser() -> VerbParser:
    """The words of the verb."""
    parser = VerbParser(prog="dqrun predict", description="Runs an integer program that dqrun export wrote.")
    parser.add_argument("file", metavar="FILE", help="the program")
    parser.add_argument("--dataset", nargs="+", required=True, metavar="NAME|DIR|FILE", help=DATASET_HELP)
    parser.add_argument("-o", "--output", metavar="CSV", help="default: standard output")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads, default: all cores")
    return parser
