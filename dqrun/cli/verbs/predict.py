"""`dqrun predict RUN --dataset ...`: predictions of a run's network or of an integer program for graphs, as CSV."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from dqrun.composition.arguments import VerbParser, add_results
from dqrun.errors import ConfigError

DATASET_HELP = """\
graphs to predict: a folder in dqrun's format, labels and splits may be missing; a file .npz; a file .pt or .safetensors
with PyG's tensors x, edge_index and, for several graphs, batch, or with a saved Data or list of Data; two files of one
graph: edges as CSV (source,target) and node features as CSV or NPY; or the name of a dataset (an option of the group
dataset=, or the one of training)"""


def main(argv: Sequence[str]) -> int:
    """Writes one line per graph or node: its id, the prediction, the logits and, where known, the target."""
    arguments = build_parser().parse_args(argv)
    if arguments.threads is not None and arguments.threads < 1:
        raise ConfigError.rule("--threads", "be >= 1", arguments.threads)
    from dqrun.cli.verbs import predictions  # imports torch: only now that the command line is right
    from dqrun.prediction.graphs import find_graphs
    from dqrun.prediction.predictors import load_predictor
    from dqrun.process.cores import use_threads

    if arguments.embeddings is not None:
        predictions.check_embeddings_file(arguments.embeddings)
    say = partial(print, file=sys.stderr)
    predictor = load_predictor(arguments.run, Path(arguments.results))
    graphs = find_graphs(arguments.dataset, predictor.trained_on, lambda text: say(f"dqrun: {text}"))
    if arguments.epilogue is not None:
        predictor = predictor.with_epilogue(arguments.epilogue)
    if arguments.threads:
        use_threads(arguments.threads, say)
    found = predictions.predict(predictor, graphs, embeddings=arguments.embeddings is not None)
    with predictions.opened(arguments.output, "-o") as stream:
        predictions.write_predictions(stream, found)
    if arguments.embeddings is not None:
        predictions.write_embeddings(arguments.embeddings, found)
    return 0


def build_parser() -> VerbParser:
    """The words of the verb."""
    parser = VerbParser(
        prog="dqrun predict",
        description="Runs the network of a run, FP32 or fake-quantised, or an integer program that dqrun export wrote. "
        "Ids in the output are those of nodes.csv and graphs.csv; where there are none, positions.",
    )
    parser.add_argument("run", metavar="RUN|FILE", help="a run folder, the name of a run, or a program's file .dqp")
    parser.add_argument("--dataset", nargs="+", required=True, metavar="NAME|DIR|FILE", help=DATASET_HELP)
    parser.add_argument("-o", "--output", metavar="CSV", help="default: standard output")
    states = "what the head gets (the last layer, in node tasks), a row per graph or node, to .npy or .csv; of a run"
    parser.add_argument("--embeddings", metavar="FILE", help=states)
    rules = "how a program's sums become codes: float64 (default) or fixed (integers alone, as in the C export)"
    parser.add_argument("--epilogue", choices=["float64", "fixed"], help=rules)
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads, default: all cores")
    add_results(parser)
    return parser
