"""The schema of a run: types and rules here, values in `configs/*.yaml`.

Everything below `cli.py` gets these dataclasses, never a DictConfig. Each field carries its meaning, unit and
range in `doc(...)`; `docs/configuration.md` is generated from them.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dqrun.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

DATASET_SOURCES = ("planetoid", "tu", "zinc", "gnn_benchmark", "threads", "folder")
FEATURES = ("given", "degree", "category", "auto")
TASKS = ("node_classification", "graph_classification", "graph_regression")
MODELS = ("gcn", "gat", "gin")
ESTIMATORS = ("ste", "clipped", "clipped_ends")
OBSERVER_UPDATES = ("widen", "average", "latest")
STEPS = ("observed", "learned")
SCHEDULES = ("none", "step", "plateau")
STARTS = ("none", "fp32")
LAUNCHERS = ("plain", "parallel", "slurm", "ray")
TRACKERS = ("none", "tensorboard", "mlflow", "wandb")


def doc(meaning: str, default: Any = ...) -> Any:
    """A dataclass field with its documentation; without a default the YAML must give the value."""
    metadata = {"doc": meaning}
    if default is ...:
        default = "???"
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def _require(ok: bool, name: str, rule: str, value: object) -> None:
    if not ok:
        raise ConfigError.rule(name, rule, value)


def _label(name: str, value: str) -> None:
    _require(re.fullmatch(r"\w+", value) is not None, name, "consist of letters, digits and _", value)


def _one_of(name: str, value: str, options: tuple[str, ...]) -> None:
    _require(value in options, name, f"be one of {', '.join(options)}", value)


@dataclass
class DataConfig:
    """Where data lives (`data.*`)."""

    root: str | None = doc("folder of the cache; null: `DQRUN_DATA`, else the platform's cache folder", None)
    mirror: str | None = doc(
        "read-only folder with raw files, used instead of downloading; null: `DQRUN_DATA_MIRROR`, else none", None
    )

    def validate(self) -> None:
        mirror = self.resolved_mirror
        _require(mirror is None or mirror.is_dir(), "data.mirror", "be an existing folder", str(mirror))

    @property
    def resolved_root(self) -> Path:
        """The cache folder, after environment and platform default."""
        from platformdirs import user_cache_path

        chosen = self.root or os.environ.get("DQRUN_DATA")
        return Path(chosen).expanduser() if chosen else user_cache_path("dqrun")

    @property
    def resolved_mirror(self) -> Path | None:
        """The mirror folder, after the environment, or None."""
        chosen = self.mirror or os.environ.get("DQRUN_DATA_MIRROR")
        return Path(chosen).expanduser() if chosen else None


@dataclass
class DatasetConfig:
    """What is learned from (`dataset.*`)."""

    name: str = doc("name of the dataset, as its source spells it (TUDataset name, Planetoid name, ...)")
    source: str = doc(f"reader of the dataset: {', '.join(DATASET_SOURCES)}")
    task: str = doc(f"what is predicted: {', '.join(TASKS)}")
    features: str = doc(
        "node features: given (as stored), degree (of the node), category (an integer for an embedding), "
        "auto (given where the files have some, else degree)",
        "given",
    )
    max_one_hot_degree: int = doc(
        "features=degree: one-hot up to this largest in-degree of the dataset, else one standardised scalar", 1000
    )
    normalize_rows: bool = doc("divide each node's given features by their sum", False)
    path: str | None = doc("source=folder: the folder with the user's files", None)
    graphs: int = doc("source=threads: number of graphs to generate", 400)
    seed: int = doc("source=threads: seed of the generator", 0)

    def validate(self) -> None:
        _one_of("dataset.source", self.source, DATASET_SOURCES)
        _one_of("dataset.task", self.task, TASKS)
        _one_of("dataset.features", self.features, FEATURES)
        _require(self.max_one_hot_degree >= 0, "dataset.max_one_hot_degree", "be >= 0", self.max_one_hot_degree)
        _require(self.graphs >= 10, "dataset.graphs", "be >= 10", self.graphs)
        if self.source == "folder":
            _require(self.path is not None, "dataset.path", "name a folder for dataset=folder", self.path)


@dataclass
class ModelConfig:
    """The network (`model.*`)."""

    name: str = doc(f"architecture: {', '.join(MODELS)}")
    layers: int = doc("number of message-passing layers, >= 1")
    hidden: int = doc("channels of a hidden layer (GAT: of all heads together), >= 1")
    heads: int = doc("GAT: attention heads of a hidden layer, >= 1; must divide hidden", 1)
    out_heads: int = doc("GAT: attention heads of a last layer that gives the logits (averaged), >= 1", 1)
    mlp_layers: int = doc("GIN: linear layers of each layer's MLP, >= 1", 2)
    norm: str = doc("normalisation after each hidden layer: none, batch", "none")
    mlp_norm: bool = doc("GIN: batch norm as the last operation of each MLP (after its ReLU)", False)
    activation: str = doc("activation after each hidden layer: relu, elu, none", "relu")
    residual: bool = doc("add a layer's input to its output where the shapes agree", False)
    encoder: str = doc("before the first layer: none, linear (to `hidden`); categories always get an embedding", "none")
    readout: str = doc("graph tasks: mean, sum or max of the nodes; node tasks ignore it", "mean")
    head: list[int] = doc(
        "graph tasks: divisors of `hidden`, one per hidden linear layer of the head, e.g. [1] or [2, 4]", [1]
    )
    input_dropout: float = doc("dropout of the features that enter the first layer, [0, 1)", 0.0)
    dropout: float = doc("dropout of the features that enter each later layer, [0, 1)", 0.0)
    attention_dropout: float = doc("GAT: dropout of attention coefficients, [0, 1)", 0.0)
    head_dropout: float = doc("dropout before the last linear layer of the head, [0, 1)", 0.0)

    def validate(self) -> None:
        _one_of("model.name", self.name, MODELS)
        _one_of("model.norm", self.norm, ("none", "batch"))
        _one_of("model.activation", self.activation, ("relu", "elu", "none"))
        _one_of("model.encoder", self.encoder, ("none", "linear"))
        _one_of("model.readout", self.readout, ("mean", "sum", "max"))
        for name in ("layers", "hidden", "heads", "out_heads", "mlp_layers"):
            _require(getattr(self, name) >= 1, f"model.{name}", "be >= 1", getattr(self, name))
        for name in ("input_dropout", "dropout", "attention_dropout", "head_dropout"):
            _require(0 <= getattr(self, name) < 1, f"model.{name}", "be in [0, 1)", getattr(self, name))
        _require(self.hidden % self.heads == 0, "model.heads", f"divide model.hidden={self.hidden}", self.heads)
        _require(all(divisor >= 1 for divisor in self.head), "model.head", "hold divisors >= 1", self.head)


@dataclass
class QuantConfig:
    """Bit-widths and grids (`quant.*`); null bits stand for FP32."""

    bits: int | None = doc("width of weights and activations, 2..8; null: FP32")
    weight_bits: int | None = doc("width of weights, 2..8; null: FP32")
    activation_bits: int | None = doc("width of activations, 2..8; null: FP32")
    symmetric_weights: bool = doc("weights on a grid with zero point 0 (else affine)", False)
    symmetric_activations: bool = doc("activations on a grid with zero point 0 (else affine)", False)

    def validate(self) -> None:
        for name in ("bits", "weight_bits", "activation_bits"):
            bits = getattr(self, name)
            _require(bits is None or 2 <= bits <= 8, f"quant.{name}", "be in 2..8 or null", bits)

    @property
    def is_fp32(self) -> bool:
        """Whether nothing is quantised."""
        return self.weight_bits is None and self.activation_bits is None

    @property
    def label(self) -> str:
        """The name in tables: fp32, int8, int4, w4a8, w4a32, ..."""
        if self.is_fp32:
            return "fp32"
        if self.weight_bits == self.activation_bits:
            return f"int{self.weight_bits}"
        return f"w{self.weight_bits or 32}a{self.activation_bits or 32}"


@dataclass
class ObserverConfig:
    """How a range is tracked (`method.observer.*`, `method.weight_observer.*`)."""

    tail: float = doc("share of the values left outside the range on each side, [0, 0.5); 0: minimum and maximum", 0.0)
    update: str = doc(
        "widen (running extremes), average (exponential moving average), latest (range of the last training step)",
        "average",
    )
    momentum: float = doc("update=average: weight of the newest range, (0, 1]", 0.01)

    @property
    def label(self) -> str:
        """The name in tables, e.g. minmax-average(0.01), percentile(0.001)-widen."""
        extent = f"percentile({self.tail:g})" if self.tail else "minmax"
        return f"{extent}-{self.update}" + (f"({self.momentum:g})" if self.update == "average" else "")

    def validate(self, name: str) -> None:
        _require(0 <= self.tail < 0.5, f"{name}.tail", "be in [0, 0.5)", self.tail)
        _one_of(f"{name}.update", self.update, OBSERVER_UPDATES)
        _require(0 < self.momentum <= 1, f"{name}.momentum", "be in (0, 1]", self.momentum)


@dataclass
class ProtectionConfig:
    """Degree-Quant's stochastic protection (`method.protection.*`)."""

    enabled: bool = doc("draw protected nodes in training", False)
    p_min: float = doc("probability of protection of the node with the lowest in-degree, [0, 1]", 0.0)
    p_max: float = doc("probability of protection of the node with the highest in-degree, [p_min, 1]", 0.0)
    per_layer: bool = doc("draw a mask for each layer (else one mask for the whole forward pass)", False)
    exempt: list[str] = doc("globs over site names that quantise protected rows all the same, e.g. ['**.mlp.**']", [])

    def validate(self) -> None:
        for name in ("p_min", "p_max"):
            _require(0 <= getattr(self, name) <= 1, f"method.protection.{name}", "be in [0, 1]", getattr(self, name))
        _require(
            self.p_min <= self.p_max,
            "method.protection.p_min",
            f"be <= method.protection.p_max={self.p_max}",
            self.p_min,
        )


@dataclass
class MethodConfig:
    """How the network meets quantisation (`method.*`)."""

    name: str = doc("name in tables: naive, noisy, dq, ptq, or your own")
    estimator: str = doc(
        "gradient of rounding: ste (identity), clipped (zero outside the grid), clipped_ends (zero at end codes too)",
        "ste",
    )
    observer: ObserverConfig = field(default_factory=ObserverConfig, metadata={"doc": "ranges of activations"})
    weight_observer: ObserverConfig = field(default_factory=ObserverConfig, metadata={"doc": "ranges of weights"})
    protection: ProtectionConfig = field(
        default_factory=ProtectionConfig, metadata={"doc": "stochastic protection of high in-degree nodes"}
    )
    step: str = doc(
        "step size (scale) of each grid: observed (of the range), learned (LSQ: a parameter)",
        "observed",
    )
    delay_epochs: int = doc(
        "epochs at the beginning in which ranges are observed and nothing is rounded, >= 0, < the epochs of training",
        0,
    )
    noise_rate: float = doc("share of the elements that a training step quantises, (0, 1]; 1: all", 1.0)
    post_training: bool = doc("train in FP32, then calibrate on training data and quantise", False)

    def validate(self) -> None:
        _label("method.name", self.name)
        _one_of("method.estimator", self.estimator, ESTIMATORS)
        self.observer.validate("method.observer")
        self.weight_observer.validate("method.weight_observer")
        self.protection.validate()
        _one_of("method.step", self.step, STEPS)
        _require(self.delay_epochs >= 0, "method.delay_epochs", "be >= 0", self.delay_epochs)
        _require(0 < self.noise_rate <= 1, "method.noise_rate", "be in (0, 1]", self.noise_rate)


@dataclass
class SiteRule:
    """What a plan says of the sites that a glob matches; null keeps what earlier rules said."""

    exact: bool | None = doc("true: left in FP32; false: quantised", None)
    bits: int | None = doc("width, 2..8; null: quant's", None)
    symmetric: bool | None = doc("grid with zero point 0; null: quant's", None)
    tail: float | None = doc(
        "largest percentile tail, [0, 0.5): a larger one of the method is cut to it; null: no limit", None
    )
    headroom: float | None = doc("share by which the range is widened before its grid is laid, [0, 1); null: 0", None)

    def validate(self, name: str) -> None:
        _require(self.bits is None or 2 <= self.bits <= 8, f"{name}.bits", "be in 2..8 or null", self.bits)
        _require(self.tail is None or 0 <= self.tail < 0.5, f"{name}.tail", "be in [0, 0.5) or null", self.tail)
        inside = self.headroom is None or 0 <= self.headroom < 1
        _require(inside, f"{name}.headroom", "be in [0, 1) or null", self.headroom)


@dataclass
class PlanConfig:
    """Which sites are quantised (`plan.*`)."""

    name: str = doc("name in tables: paper, integer, or your own")
    rules: dict[str, SiteRule] = field(
        default_factory=dict,
        metadata={"doc": "site glob -> rule, in order, the last match wins; sites without a match are quantised"},
    )
    exact: list[str] = doc("globs of further sites to leave in FP32, for the shell: plan.exact=['head.*']", [])

    def validate(self) -> None:
        _label("plan.name", self.name)
        for glob, rule in self.rules.items():
            rule.validate(f"plan.rules.{glob}")


@dataclass
class ProtocolConfig:
    """Which trials make one number (`protocol.*`)."""

    name: str = doc("seeds (same split, other seeds) or kfold (stratified folds)")
    trials: int = doc("name=seeds: number of trials, >= 1", 1)
    first_seed: int = doc("seed of the first trial, >= 0; kfold uses it for each fold", 0)
    num_folds: int = doc("name=kfold: number of folds, >= 3", 10)
    folds: list[int] | None = doc("name=kfold: the folds to run; null: all", None)
    split_seed: int = doc("seed of the folds or of a random split", 12345)

    def validate(self) -> None:
        _one_of("protocol.name", self.name, ("seeds", "kfold"))
        _require(self.trials >= 1, "protocol.trials", "be >= 1", self.trials)
        _require(self.first_seed >= 0, "protocol.first_seed", "be >= 0", self.first_seed)
        _require(self.num_folds >= 3, "protocol.num_folds", "be >= 3", self.num_folds)
        if self.folds is not None:
            inside = bool(self.folds) and all(0 <= fold < self.num_folds for fold in self.folds)
            _require(inside, "protocol.folds", f"list folds in 0..{self.num_folds - 1}", self.folds)
            _require(len(set(self.folds)) == len(self.folds), "protocol.folds", "name each fold once", self.folds)


@dataclass
class ScheduleConfig:
    """How the learning rate falls (`train.schedule.*`)."""

    name: str = doc(f"one of {', '.join(SCHEDULES)}; plateau watches the validation loss", "none")
    factor: float = doc("the rate is multiplied by it, (0, 1)", 0.5)
    every: int = doc("name=step: epochs between two falls, >= 1", 50)
    patience: int = doc("name=plateau: epochs without improvement before a fall, >= 0", 10)
    min_lr: float = doc("name=plateau: training stops below this rate, >= 0", 1e-5)

    def validate(self) -> None:
        _one_of("train.schedule.name", self.name, SCHEDULES)
        _require(0 < self.factor < 1, "train.schedule.factor", "be in (0, 1)", self.factor)
        _require(self.every >= 1, "train.schedule.every", "be >= 1", self.every)
        _require(self.patience >= 0, "train.schedule.patience", "be >= 0", self.patience)
        _require(self.min_lr >= 0, "train.schedule.min_lr", "be >= 0", self.min_lr)


@dataclass
class FineTuneConfig:
    """What a warm start changes in `train` (`train.fine_tune.*`); the FP32 trial has the values of `train`."""

    epochs: int | None = doc("largest number of epochs, >= 1; null: train.epochs", None)
    lr: float | None = doc("learning rate, > 0; null: train.lr", None)
    weight_decay: float | None = doc("L2 penalty, >= 0; null: train.weight_decay", None)

    @property
    def changes(self) -> dict[str, Any]:
        """The fields of `train` that are given, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass
class TrainConfig:
    """How the network is trained (`train.*`)."""

    epochs: int = doc("largest number of epochs, >= 1", 100)
    batch_size: int = doc("graphs per step, >= 1; node tasks use the whole graph", 128)
    lr: float = doc("learning rate of Adam, > 0", 1e-3)
    weight_decay: float = doc("L2 penalty of Adam, >= 0", 0.0)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig, metadata={"doc": "of the learning rate"})
    early_stop_window: int = doc(
        "stop when the validation loss exceeds its mean over this many previous epochs, in the second half; 0: never", 0
    )
    select: str = doc("the epoch that is kept has the best: val_loss, val_metric", "val_loss")
    grad_clip: float = doc("largest norm of the gradient, >= 0; 0: no clipping", 0.0)
    checkpoint_minutes: float = doc(
        "a trial that is interrupted loses at most this many minutes of training, >= 0; 0: no checkpoints", 5.0
    )
    warm_start: str = doc(
        "where a quantised trial's parameters begin: none (drawn from the seed), fp32 (those of the FP32 trial of the "
        "same dataset, model, training settings, seed and fold, which is run first unless its run is there)",
        "none",
    )
    fine_tune: FineTuneConfig = field(
        default_factory=FineTuneConfig,
        metadata={
            "doc": "warm_start=fp32: training settings of the quantised trial, where they are not the FP32 one's"
        },
    )

    def validate(self) -> None:
        self._validate_steps("train")
        _require(self.batch_size >= 1, "train.batch_size", "be >= 1", self.batch_size)
        _require(self.early_stop_window >= 0, "train.early_stop_window", "be >= 0", self.early_stop_window)
        _require(self.grad_clip >= 0, "train.grad_clip", "be >= 0", self.grad_clip)
        _require(self.checkpoint_minutes >= 0, "train.checkpoint_minutes", "be >= 0", self.checkpoint_minutes)
        _one_of("train.select", self.select, ("val_loss", "val_metric"))
        self.schedule.validate()
        _one_of("train.warm_start", self.warm_start, STARTS)
        replace(self, **self.fine_tune.changes)._validate_steps("train.fine_tune")

    def _validate_steps(self, name: str) -> None:
        """The rules of what `fine_tune` may change."""
        _require(self.epochs >= 1, f"{name}.epochs", "be >= 1", self.epochs)
        _require(0 < self.lr < math.inf, f"{name}.lr", "be > 0 and finite", self.lr)
        _require(0 <= self.weight_decay < math.inf, f"{name}.weight_decay", "be >= 0 and finite", self.weight_decay)


@dataclass
class EvaluateConfig:
    """How a trained network is judged (`evaluate.*`)."""

    engine: str = doc(
        "float (the fake-quantised network) or integer (on the test data its integer program as well; "
        "needs plan=integer)",
        "float",
    )


@dataclass
class LauncherConfig:
    """Where trials run (`launcher.*`)."""

    name: str = doc(f"one of {', '.join(LAUNCHERS)}", "plain")
    cluster: str = doc("name=slurm: slurm, or local (processes on this machine, to try a sweep out)", "slurm")
    address: str | None = doc("name=ray: HOST:PORT of a cluster, or auto for the one here; null: starts its own", None)
    cpus: int = doc("name=slurm, ray: CPU cores of a trial, and its threads where threads=0, >= 1", 1)
    gpus: int = doc("name=slurm, ray: GPUs of a trial, >= 0", 0)
    memory_gb: float = doc("name=slurm: memory of a trial, > 0", 4.0)
    minutes: int = doc("name=slurm: time limit of a trial, >= 1", 240)
    partition: str | None = doc("name=slurm: partition; null: the cluster's default", None)
    account: str | None = doc("name=slurm: account; null: the user's default", None)

    def validate(self) -> None:
        _one_of("launcher.name", self.name, LAUNCHERS)
        _one_of("launcher.cluster", self.cluster, ("slurm", "local"))
        _require(self.cpus >= 1, "launcher.cpus", "be >= 1", self.cpus)
        _require(self.gpus >= 0, "launcher.gpus", "be >= 0", self.gpus)
        _require(self.memory_gb > 0, "launcher.memory_gb", "be > 0", self.memory_gb)
        _require(self.minutes >= 1, "launcher.minutes", "be >= 1", self.minutes)


@dataclass
class ResultsConfig:
    """Where results go (`results.*`)."""

    dir: str = doc("folder of runs and tables", "results")


@dataclass
class RunConfig:
    """One run: a configuration of which every trial of the protocol is made."""

    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    quant: QuantConfig = field(default_factory=QuantConfig)
    method: MethodConfig = field(default_factory=MethodConfig)
    plan: PlanConfig = field(default_factory=PlanConfig)
    protocol: ProtocolConfig = field(default_factory=ProtocolConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    data: DataConfig = field(default_factory=DataConfig)
    results: ResultsConfig = field(default_factory=ResultsConfig)
    launcher: LauncherConfig = field(default_factory=LauncherConfig)
    jobs: int = doc("trials at a time, >= 1; 0: as many as the launcher's machines have room for", 0)
    track: str = doc(f"tool that gets curves and results too: {', '.join(TRACKERS)}", "none")
    device: str = doc("cpu or cuda", "cpu")
    threads: int = doc("CPU threads, >= 1; 0: all cores", 0)
    kernels: str = doc("auto (compiled where they work), reference (plain torch), cpu (compiled or an error)", "auto")
    rerun: bool = doc("run trials that already have a row again", False)

    def validate(self) -> None:
        """Checks every field and the rules between fields; raises ConfigError with the first violation."""
        for part in ("dataset", "model", "quant", "method", "plan", "protocol", "train", "data", "launcher"):
            getattr(self, part).validate()
        _one_of("track", self.track, TRACKERS)
        _one_of("device", self.device, ("cpu", "cuda"))
        _require(self.jobs >= 0, "jobs", "be >= 0", self.jobs)
        sequential = self.launcher.name == "plain"
        _require(
            not sequential or self.jobs <= 1, "jobs", "be 0 or 1 with launcher=plain (launcher=parallel)", self.jobs
        )
        _require(self.threads >= 0, "threads", "be >= 0", self.threads)
        _one_of("kernels", self.kernels, ("auto", "reference", "cpu"))
        _one_of("evaluate.engine", self.evaluate.engine, ("float", "integer"))
        if self.evaluate.engine == "integer":
            self._validate_integer()
        if not self.quant.is_fp32:
            self._validate_options()
        if self.dataset.task == "node_classification":
            _require(self.protocol.name == "seeds", "protocol.name", "be seeds for node tasks", self.protocol.name)

    @property
    def starts_warm(self) -> bool:
        """Whether training begins with the parameters of an FP32 trial; FP32 itself never does."""
        return self.train.warm_start == "fp32" and not self.quant.is_fp32

    @property
    def own_train(self) -> TrainConfig:
        """`train` as this run's own trials use it: after a warm start with the changes of `train.fine_tune`."""
        return replace(self.train, **self.train.fine_tune.changes) if self.starts_warm else self.train

    def _validate_options(self) -> None:
        """What belongs to training with quantisation only."""
        method, epochs = self.method, self.own_train.epochs
        delay, rule = method.delay_epochs, f"be < the {epochs} epochs of training"
        _require(delay < epochs, "method.delay_epochs", rule, delay)
        if method.post_training:
            because = "for method.post_training=true, which trains in FP32"
            _require(method.step == "observed", "method.step", f"be observed {because}", method.step)
            _require(delay == 0, "method.delay_epochs", f"be 0 {because}", delay)
            _require(not self.starts_warm, "train.warm_start", f"be none {because}", self.train.warm_start)

    def _validate_integer(self) -> None:
        name, quant, engine = "evaluate.engine", self.quant, self.evaluate.engine
        _require(self.plan.name == "integer", name, "be float unless plan=integer", engine)
        widths = quant.weight_bits is not None and quant.activation_bits is not None
        _require(widths, name, f"be float for quant={quant.label}", engine)
        _require(self.device == "cpu", name, f"be float for device={self.device}", engine)


def schema() -> DictConfig:
    """The typed OmegaConf tree into which YAML values are merged."""
    from omegaconf import OmegaConf  # here: programs run without it

    tree: DictConfig = OmegaConf.structured(RunConfig)
    return tree
