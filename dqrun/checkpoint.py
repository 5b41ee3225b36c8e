"""A trained network as a safetensors file: tensors, and the configuration to rebuild it as metadata."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from omegaconf import OmegaConf
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from dqrun.build import build_model
from dqrun.config import RunConfig, schema
from dqrun.errors import DataError
from dqrun.nn import GNN

FORMAT = "dqrun-model-1"


@dataclass(frozen=True)
class Shapes:
    """What a network's size depends on beyond its configuration: see `build_network`."""

    in_channels: int
    num_categories: int
    out_channels: int


def save_model(path: Path, model: GNN, config: RunConfig, shapes: Shapes) -> None:
    """Writes parameters, buffers and quantiser ranges, with the configuration and shapes as JSON metadata."""
    metadata = {"format": FORMAT, "config": json.dumps(asdict(config)), "shapes": json.dumps(asdict(shapes))}
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    path.write_bytes(save(tensors, metadata))  # not save_file: its error on a full disk is no OSError


def load_model(path: Path) -> tuple[GNN, RunConfig]:
    """Rebuilds a network in evaluation mode; raises DataError for a damaged or foreign file."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path} is not a readable model file ({error})") from None
    if metadata.get("format") != FORMAT:
        raise DataError(f"{path} must be of format {FORMAT}, got {metadata.get('format')!r}")
    config = OmegaConf.to_object(OmegaConf.merge(schema(), json.loads(metadata["config"])))
    assert isinstance(config, RunConfig)
    model = build_model(config, **json.loads(metadata["shapes"]))
    model.load_state_dict(state)
    return model.eval(), config
