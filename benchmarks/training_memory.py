"""Peak memory of a training step beside PyG's: `python benchmarks/training_memory.py [--json FILE] [WORD ...]`.

WORD: `GROUP=OPTION`, one network in place of all.

Two ways of each step on one batch: what torch's allocator held at most beyond the start (`peak_bytes`, the same each
time), and how far the process's resident memory rose (`resident_bytes`, a check: it counts whole pages, and what the
libraries keep for themselves). Of PyG's forms of edges the one with the smallest peak stands for it. "floats kept" is
the step without codes: what backward passes kept before they kept codes. No time is measured, so that a busy machine
gives the same. `benchmarks/tables.py` makes the table of docs/measurements/speed.md from the file.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dqrun.bench.machine import describe
from dqrun.bench.peers import edge_forms
from dqrun.bench.timing import Step, peak_bytes, set_threads
from dqrun.bench.training import label
from dqrun.bench.workload import Workload
from dqrun.composition.compose import load_configs
from dqrun.kernels.ops import kept

NETWORKS = {"zinc": "gcn,gat,gin", "reddit_binary": "gcn,gin", "cora": "gcn,gat"}
VARIANTS = ["method=dq", "quant=int8,int4"]
MMAP_THRESHOLD, SMALL = -3, 2**16  # for mallopt: the system gets larger blocks back when they are freed
NEVER = 2**62  # elements


def resident_rise(step: Step) -> int:
    """The rise of resident memory during a step, in bytes (Linux)."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak VmHWM
    before = _status("VmRSS")
    step(0)
    return _status("VmHWM") - before


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":"))


def measured(step: Step) -> dict[str, int]:
    """Both figures of a step, after one run without measurement."""
    step(0)
    return {"peak_bytes": peak_bytes(step), "resident_bytes": resident_rise(step)}


def lines(words: list[str]) -> Iterator[dict[str, Any]]:
    """The figures of one network: of PyG's form of least memory, and of each of dqrun's variants."""
    configs = [*load_configs([*words, "quant=fp32"]), *load_configs([*words, *VARIANTS], multirun=True)]
    workload = Workload.prepare(configs[0])
    known, _ = edge_forms([batch.graph for batch in workload.batches])
    forms = [(form, measured(workload.peer(form))) for form in known]
    form, least = min(forms, key=lambda each: each[1]["peak_bytes"])
    names = {"dataset": configs[0].dataset.name, "model": configs[0].model.name}
    yield {**names, "variant": "pyg_fp32", "form": form, **least}
    for config in configs:
        smallest = kept.SMALLEST
        for suffix, size in (("", smallest), (", floats kept", NEVER)):
            if suffix and config.quant.is_fp32:
                continue
            kept.SMALLEST = size
            yield {**names, "variant": label(config) + suffix, "form": "", **measured(workload.ours(config))}
        kept.SMALLEST = smallest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures and the machine to a file")
    parser.add_argument("words", nargs="*", metavar="GROUP=OPTION", help="one network instead of all")
    arguments = parser.parse_args()
    ctypes.CDLL(None).mallopt(MMAP_THRESHOLD, SMALL)
    set_threads(1)
    networks = [
        [f"dataset={data}", f"model={model}"] for data, models in NETWORKS.items() for model in models.split(",")
    ]
    results = []
    for words in [arguments.words] if arguments.words else networks:
        for line in lines([*words, "threads=1"]):
            results.append(line)
            print(json.dumps(line), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": describe(), "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
