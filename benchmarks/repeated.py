"""One of several runs of `dqrun bench training`: `python benchmarks/repeated.py FILE... -o FILE`.

The one whose ratio of `dq_int8` to PyG's FP32 is the median (of an even number: the larger of the middle two), with
the ratios of all runs as `ratios_of_runs`. Where other processes disturb single runs, a rule must choose.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

JUDGED_BY = "dq_int8"


def ratios(document: dict[str, Any]) -> dict[str, float]:
    """The ratio to the fastest FP32 peer by variant, of one run."""
    return {line["variant"]: line["ratio_to_fastest_fp32_peer"] for line in document["results"]}


def median_run(documents: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The run with the median ratio of JUDGED_BY, and `ratios_of_runs`: the ratios of all runs by variant.

    Raises ValueError unless all runs have the same dataset, model and variants.
    """
    if len({(line["dataset"], line["model"]) for document in documents for line in document["results"]}) > 1:
        raise ValueError("runs of different networks")
    found = [ratios(document) for document in documents]
    if any(one.keys() != found[0].keys() for one in found):
        raise ValueError("runs of different variants")
    order = sorted(range(len(found)), key=lambda number: found[number][JUDGED_BY])
    together = {variant: [one[variant] for one in found] for variant in found[0]}
    return {**documents[order[len(order) // 2]], "ratios_of_runs": together}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("-o", dest="output", type=Path, required=True, metavar="FILE")
    arguments = parser.parse_args()
    chosen = median_run([json.loads(file.read_text(encoding="utf-8")) for file in arguments.files])
    arguments.output.write_text(json.dumps(chosen, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
