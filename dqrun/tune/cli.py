"""`dqrun tune [GROUP=OPTION ...] [FIELD=VALUE ...]`: its flags."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dqrun.composition.arguments import VerbParser
from dqrun.errors import ConfigError
from dqrun.tune.space import known_settings


def main(argv: Sequence[str]) -> int:
    """Runs the searches of a command line and returns the exit code."""
    options = build_parser().parse_intermixed_args(list(argv))
    if options.trials < 1:
        raise ConfigError.rule("--trials", "be >= 1", options.trials)
    if not 0 <= options.bits_weight < math.inf:
        raise ConfigError.rule("--bits-weight", "be >= 0 and finite", options.bits_weight)
    for word in options.overrides:
        if word.startswith("~"):
            raise ConfigError(f"{word} can't be put into a preset: write what you want instead")
    from dqrun.tune.command import run_command  # imports torch: only now that the command line is right

    return run_command(options, list(argv))


def build_parser() -> VerbParser:
    """The parser of the verb's words and flags."""
    parser = VerbParser(
        prog="dqrun tune",
        description="Searches settings by validation with Optuna: dqrun tune model=gin quant=int4 method=naive,dq. "
        "Each combination of listed values is searched with the same number of settings, the defaults being the "
        "first. The same command goes on where it was stopped. Rows and studies go to results.dir/tune.",
    )
    parser.add_argument("overrides", nargs="*", help="GROUP=OPTION or FIELD=VALUE; a,b,c lists what to compare")
    parser.add_argument("--trials", type=int, default=20, metavar="N", help="settings tried for each (default: 20)")
    parser.add_argument(
        "--search",
        metavar="LIST",
        help=f"what to vary (default: all of {','.join(known_settings())} that have an effect)",
    )
    parser.add_argument(
        "--bits-weight",
        type=float,
        default=0.0,
        metavar="W",
        help="what a bit of the mean width of activations costs, in units of the metric, e.g. 0.01 (default: 0)",
    )
    parser.add_argument("--config-dir", metavar="DIR", help="a folder with groups of your own; gets the presets too")
    parser.add_argument(
        "-o", "--output", metavar="DIR", help="config folder for presets (default: results.dir/tune/configs)"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="errors only")
    return parser
