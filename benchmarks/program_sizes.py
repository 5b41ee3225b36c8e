"""Bytes of the program files of trained runs as a Markdown table: `program_sizes.py RESULTS_DIR...`.

Beside the whole file what its parts take, each compressed alone: weights, numbers per channel, and the structure.
"""

from __future__ import annotations

import json
import sys
import tempfile
import zlib
from pathlib import Path

from dqrun.checkpoint import load_features, load_model
from dqrun.engine.container import MAGIC
from dqrun.engine.lower import lower
from dqrun.export import said

HEADER = "| run | FP32 weights | file | share | weights | numbers | structure |"


def main(folders: list[str]) -> None:
    """Prints a line per run that was trained with plan=integer."""
    print(HEADER)
    print("|" + " --- |" * (HEADER.count("|") - 1))
    for path in sorted(path for folder in folders for path in Path(folder).glob("runs/*/model.safetensors")):
        model, config = load_model(path)
        if config.plan.name == "integer":
            features = load_features(path)
            origin = {"run": path.parent.name, "dataset": said(config.dataset)}
            origin |= {} if features is None else {"features": said(features)}
            with tempfile.TemporaryDirectory() as folder:
                lower(model, origin).save(Path(folder) / "a.dqp")
                data = (Path(folder) / "a.dqp").read_bytes()
            fp32 = 4 * sum(parameter.numel() for parameter in model.parameters())
            name = f"{config.dataset.name} {config.model.name.upper()} {config.quant.label.upper()}"
            sizes = " | ".join(f"{size:,}" for size in parts(data))
            print(f"| {name} | {fp32:,} | {len(data):,} | {len(data) / fp32:.3f} | {sizes} |")


def parts(data: bytes) -> list[int]:
    """Compressed bytes of weights and tables, of the numbers per channel (attention's too), and of the structure."""
    structure, _, elements = zlib.decompress(data.removeprefix(MAGIC)).partition(b"\n")
    codes = len(zlib.compress(elements[: json.loads(structure)["counts"][0]], 9))
    head = len(zlib.compress(structure, 9))
    return [codes, len(data) - codes - head, head]


if __name__ == "__main__":
    main(sys.argv[1:])
