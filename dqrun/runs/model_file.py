"""Model files: a trained network as safetensors, with metadata from which it can be rebuilt.

All code reads them with `read_model`, which checks everything: the metadata must be a valid configuration, the tensors
must be those of the network that it describes, and their numbers in the ranges that are possible after training.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf.errors import OmegaConfBaseException
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dqrun import durable
from dqrun.config import RunConfig
from dqrun.config.reading import config_from
from dqrun.config.tasks import TASKS
from dqrun.data.features import KINDS, FeatureRule
from dqrun.errors import ConfigError, DataError
from dqrun.nn import GNN
from dqrun.nn.build import build_model
from dqrun.quant import RangeObserver
from dqrun.quant.learned import Learned
from dqrun.quant.mixture import Mixture
from dqrun.quant.row_tables import RowTable
from dqrun.runs.records import check_types, parse_json, short

FORMAT = "dqrun-model-1"
LARGEST_SIZE = 2**31
ADDED = re.compile(r"\.(quantizer|extension)\.")
"""In the names of tensors that a method has put into a network."""


@dataclass(frozen=True)
class Shapes:
    """Sizes of the data on which a network depends: see `build_network`."""

    in_channels: int
    num_categories: int
    out_channels: int
    edge_channels: int = 0
    edge_categories: int = 0
    num_nodes: int = 0


@dataclass(frozen=True)
class ModelFile:
    """The content of a model file. `features`: how features were made from its data; None if the file lacks it."""

    path: Path
    config: RunConfig
    shapes: Shapes
    features: FeatureRule | None
    state: dict[str, Tensor]


class _Damage(ValueError):
    """An error in a model file, described in one line."""


def save_model(path: Path, model: GNN, config: RunConfig, shapes: Shapes, features: FeatureRule | None = None) -> None:
    """Writes parameters, buffers and quantiser ranges, with configuration, shapes and features as JSON metadata."""
    metadata = {"format": FORMAT, "config": json.dumps(asdict(config)), "shapes": json.dumps(asdict(shapes))}
    if features is not None:
        metadata["features"] = json.dumps(asdict(features))
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    durable.write_bytes(path, save(tensors, metadata))


def load_model(path: Path) -> tuple[GNN, RunConfig]:
    """Rebuilds a network in evaluation mode; raises DataError for a damaged or foreign file."""
    file = read_model(path)
    model = build_model(file.config, **asdict(file.shapes))
    model.load_state_dict(file.state)
    return model.eval(), file.config


def load_parameters(path: Path, model: GNN) -> None:
    """Copies parameters and batch norms of an FP32 network from a file into `model`, whose quantisers do not change.

    Raises DataError for a damaged or foreign file, or for a network of another shape.
    """
    state, wanted = read_model(path).state, model.state_dict()
    taken = {name for name in wanted if not ADDED.search(name)}
    wrong = sorted(name for name in taken | state.keys() if not _alike(state.get(name), wanted.get(name)))
    if wrong:
        raise DataError(f"{path} holds another network ({', '.join(wrong[:3])})")
    model.load_state_dict(state, strict=False)


def load_features(path: Path) -> FeatureRule | None:
    """How the features of a network's training data were made; see `ModelFile`. Errors: `load_model`."""
    return read_model(path).features


def require_data(path: Path, shapes: Mapping[str, int]) -> None:
    """Raises DataError if the data have other sizes than the network's training data.

    `shapes`: sizes of the data by the names of `Shapes`, see `TrialData.shapes`. Other errors: `load_model`.
    """
    for name, wanted in asdict(read_model(path).shapes).items():
        if shapes[name] != wanted and (name != "num_nodes" or wanted):
            raise DataError(f"{path} holds a network for data with {name}={wanted}, its dataset has {shapes[name]}")


def read_model(path: Path) -> ModelFile:
    """Reads and checks a model file; raises DataError in one line for a missing, damaged or foreign file."""
    metadata, state = _read(path)
    if metadata.get("format") != FORMAT:
        raise DataError(f"{path} must be of format {FORMAT}, got {short(metadata.get('format'))}")
    try:
        shapes = _shapes(_json(metadata, "shapes"))
        config = _config(_json(metadata, "config"))
        features = None if "features" not in metadata else _features(_json(metadata, "features"), shapes)
        _require_network(config, shapes, state)
    except _Damage as error:
        raise DataError(f"{path} is a damaged model file ({error})") from None
    return ModelFile(path, config, shapes, features, state)


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a safetensors file."""
    if path.exists() and not path.is_file():  # reading a pipe would wait forever
        raise DataError(f"{path} is not a readable model file (it is no regular file)")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            return metadata, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path} is not a readable model file ({reason})") from None


def _json(metadata: dict[str, str], name: str) -> Any:
    if name not in metadata:
        raise _Damage(f"it lacks {name}")
    try:
        return parse_json(metadata[name])
    except ValueError as error:
        raise _Damage(f"{name}: {error}") from None


def _shapes(plain: object) -> Shapes:
    try:
        shapes = Shapes(**check_types(Shapes, plain))
    except ValueError as error:
        raise _Damage(f"shapes: {error}") from None
    sizes = astuple(shapes)
    if not all(0 <= size < LARGEST_SIZE for size in sizes) or not shapes.out_channels:
        raise _Damage(f"shapes: they must be sizes, got {list(sizes)}")
    if (shapes.in_channels > 0) == (shapes.num_categories > 0):
        raise _Damage(f"shapes: there must be either channels or categories, got {list(sizes)}")
    return shapes


def _features(plain: object, shapes: Shapes) -> FeatureRule:
    try:
        rule = FeatureRule(**check_types(FeatureRule, plain))
    except ValueError as error:
        raise _Damage(f"features: {error}") from None
    width = shapes.num_categories if rule.kind == "category" else shapes.in_channels
    if rule.kind not in KINDS or rule.width != width or rule.divisor <= 0:
        raise _Damage(f"features: they do not fit a network of {width} channels or categories")
    return rule


def _config(plain: object) -> RunConfig:
    """The configuration. Fields on which the network depends must be valid; paths of another machine need not exist."""
    if not isinstance(plain, dict):
        raise _Damage("config: it is no JSON object")
    try:
        config = config_from(plain)
        for part in (config.model, config.quant, config.method, config.plan):
            part.validate()
    except (OmegaConfBaseException, ConfigError, TypeError, ValueError, AttributeError) as error:
        raise _Damage(f"config: {(str(error).splitlines() or [type(error).__name__])[0]}") from None
    if config.dataset.task not in TASKS:
        raise _Damage(f"config: dataset.task must be one of {', '.join(TASKS)}, got {short(config.dataset.task)}")
    if changed := _changed(plain, asdict(config)):
        raise _Damage(f"config: {changed} is not of its field's type")
    return config


def _changed(plain: object, made: object, name: str = "") -> str:
    """The dotted name of the first field that the schema converted to another value, or ""."""
    if isinstance(plain, dict) and isinstance(made, dict):
        inner = (_changed(value, made[key], f"{name}.{key}".lstrip(".")) for key, value in plain.items())
        return next((found for found in inner if found), "")
    numbers = type(plain) is int and type(made) is float
    return "" if plain == made and (numbers or type(plain) is type(made)) else name


def _require_network(config: RunConfig, shapes: Shapes, state: dict[str, Tensor]) -> None:
    """Raises _Damage unless the tensors are those of the network; allocates no memory for the network."""
    depth = max(config.model.layers, config.model.mlp_layers, len(config.model.head))
    if depth > len(state):
        raise _Damage(f"config: a network of {depth} layers has more than {len(state)} tensors")
    with torch.device("meta"):
        model = build_model(config, **asdict(shapes))
    wanted = model.state_dict()
    wrong = sorted(name for name in wanted.keys() | state.keys() if not _alike(state.get(name), wanted.get(name)))
    if wrong:
        raise _Damage(f"tensors are not those of its configuration: {', '.join(map(short, wrong[:3]))}")
    for prefix, module in model.named_modules():
        _require_numbers(module, prefix, state)


def _require_numbers(module: torch.nn.Module, prefix: str, state: dict[str, Tensor]) -> None:
    """Raises _Damage unless a module's own tensors are in the ranges that are possible after training."""
    own = [name for name, _ in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))]
    found = {name: state.get(f"{prefix}.{name}" if prefix else name) for name in own}
    values = {name: value for name, value in found.items() if value is not None}  # others are not saved
    if isinstance(module, RangeObserver):
        low, high = values["low"], values["high"]
        unseen = (low == torch.inf) & (high == -torch.inf)
        if not bool((unseen | ((-torch.inf < low) & (low <= high) & (high < torch.inf))).all()):
            raise _Damage(f"{prefix} must be a range, got {short(low.tolist())}..{short(high.tolist())}")
        return
    if isinstance(module, Mixture) and not -1 <= int(values["chosen"]) < len(module.candidates):
        raise _Damage(f"{prefix}.chosen must be -1 or the number of a candidate, got {int(values['chosen'])}")
    for name, value in values.items():
        learned = isinstance(module, Learned | RowTable) and name == module.parameter
        unknown = learned and bool(value.isnan().all())  # not begun
        if value.is_floating_point() and not unknown and not bool(value.isfinite().all()):
            raise _Damage(f"{prefix}.{name} must be finite")
        if name == "running_var" and bool((value < 0).any()):
            raise _Damage(f"{prefix}.{name} must not be negative")


def _alike(tensor: Tensor | None, other: Tensor | None) -> bool:
    """Whether both are tensors, with the same shape and type."""
    return tensor is not None and other is not None and (tensor.shape, tensor.dtype) == (other.shape, other.dtype)
