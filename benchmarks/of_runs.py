"""The command line of scripts that analyse several runs: `SCRIPT RUN... [--json FILE]`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def report(doc: str | None, find: Callable[[Path], dict[str, Any]], **shared: Any) -> None:
    """Prints the result of `find` for each run's folder; the JSON file has `results`, the command and `shared`."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    results = []
    for run in arguments.runs:
        results.append(find(run))
        print(json.dumps(results[-1]), flush=True)
    if arguments.json:
        document = {"command": f"benchmarks/{Path(sys.argv[0]).name}", **shared, "results": results}
        arguments.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
