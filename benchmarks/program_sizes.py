"""Bytes of the program files of trained runs as a Markdown table: `program_sizes.py RESULTS_DIR...`.

Beside the whole file what its parts take, each compressed: weights, numbers per channel, and the structure.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from safetensors.torch import load

from dqrun.checkpoint import load_features, load_model
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
    """Bytes of weights and tables, of the numbers per channel (attention's too), and of the structure and header."""
    elements = {name: stream.numel() for name, stream in load(data).items()}
    codes, numbers = elements.pop("elements_1"), sum(elements.values())
    return [codes, numbers, len(data) - codes - numbers]


if __name__ == "__main__":
    main(sys.argv[1:])
