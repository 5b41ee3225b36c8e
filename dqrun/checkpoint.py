"""A trained network as a safetensors file: tensors, and the configuration to rebuild it as metadata."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from omegaconf import OmegaConf
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dqrun.build import build_model
from dqrun.config import RunConfig, schema
from dqrun.data.features import FeatureRule
from dqrun.errors import DataError
from dqrun.nn import GNN

FORMAT = "dqrun-model-1"


@dataclass(frozen=True)
class Shapes:
    """What a network's size depends on beyond its configuration: see `build_network`."""

    in_channels: int
    num_categories: int
    out_channels: int


def save_model(path: Path, model: GNN, config: RunConfig, shapes: Shapes, features: FeatureRule | None = None) -> None:
    """Writes parameters, buffers and quantiser ranges, with configuration, shapes and features as JSON metadata."""
    metadata = {"format": FORMAT, "config": json.dumps(asdict(config)), "shapes": json.dumps(asdict(shapes))}
    if features is not None:
        metadata["features"] = json.dumps(asdict(features))
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    path.write_bytes(save(tensors, metadata))  # not save_file: its error on a full disk is no OSError


def load_model(path: Path) -> tuple[GNN, RunConfig]:
    """Rebuilds a network in evaluation mode; raises DataError for a damaged or foreign file."""
    metadata, state = _read(path)
    config = OmegaConf.to_object(OmegaConf.merge(schema(), json.loads(metadata["config"])))
    assert isinstance(config, RunConfig)
    model = build_model(config, **json.loads(metadata["shapes"]))
    model.load_state_dict(state)
    return model.eval(), config


def load_parameters(path: Path, model: GNN) -> None:
    """Puts the parameters and batch norms of an FP32 network into one of the same shape; its quantisers stay new.

    Raises DataError for a damaged or foreign file, or for a network of another shape.
    """
    state = _read(path)[1]
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:  # torch lists each tensor of another shape in a line
        raise DataError(f"{path} holds another network ({str(error).splitlines()[-1].strip()})") from None
    wrong = [name for name in missing if ".quantizer." not in name] + unexpected
    if wrong:
        raise DataError(f"{path} holds another network ({', '.join(wrong[:3])})")


def load_features(path: Path) -> FeatureRule | None:
    """How the features of a network's training data were made; None in files older than 0.2. Errors: `load_model`."""
    features = _read(path)[0].get("features")
    return None if features is None else FeatureRule(**json.loads(features))


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a model file."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path} is not a readable model file ({error})") from None
    if metadata.get("format") != FORMAT:
        raise DataError(f"{path} must be of format {FORMAT}, got {metadata.get('format')!r}")
    return metadata, state
