"""All of it together, and where and how a command runs."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from dqrun import register
from dqrun.config.dataset import DataConfig, DatasetConfig
from dqrun.config.loader import LoaderConfig
from dqrun.config.method import MethodConfig
from dqrun.config.model import ModelConfig
from dqrun.config.plan import PlanConfig
from dqrun.config.quant import QuantConfig
from dqrun.config.rules import doc, require, require_in, require_one_of, require_sane
from dqrun.config.tasks import is_node_task
from dqrun.config.train import EvaluateConfig, ProtocolConfig, TrainConfig

if TYPE_CHECKING:
    from omegaconf import DictConfig

LAUNCHERS = ("plain", "parallel", "slurm", "ray", "torchrun")
TRACKERS = ("none", "tensorboard", "mlflow", "wandb")


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
    timeout: float = doc("name=torchrun: seconds that a process waits for the others of its trial, > 0", 300.0)

    def validate(self) -> None:
        require_one_of("launcher.name", self.name, LAUNCHERS)
        require_one_of("launcher.cluster", self.cluster, ("slurm", "local"))
        require(self.cpus >= 1, "launcher.cpus", "be >= 1", self.cpus)
        require(self.gpus >= 0, "launcher.gpus", "be >= 0", self.gpus)
        require(self.memory_gb > 0, "launcher.memory_gb", "be > 0", self.memory_gb)
        require(self.minutes >= 1, "launcher.minutes", "be >= 1", self.minutes)
        require(0 < self.timeout < math.inf, "launcher.timeout", "be > 0 and finite", self.timeout)


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
    loader: LoaderConfig = field(default_factory=LoaderConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    data: DataConfig = field(default_factory=DataConfig)
    results: ResultsConfig = field(default_factory=ResultsConfig)
    launcher: LauncherConfig = field(default_factory=LauncherConfig)
    jobs: int = doc("trials at a time, >= 1; 0: as many as the launcher's machines can run", 0)
    processes: int = doc(
        "launcher=torchrun: processes that train one trial together, each with a part of every batch, 1..1024", 1
    )
    track: str = doc(f"tool that gets curves and results too: {', '.join(TRACKERS)}", "none")
    device: str = doc("cpu or cuda", "cpu")
    threads: int = doc("CPU threads, >= 1; 0: all cores", 0)
    kernels: str = doc("auto (compiled where they work), reference (plain torch), cpu (compiled or an error)", "auto")
    rerun: bool = doc("run trials that already have a row again", False)
    plugins: list[str] = doc(
        "code of your own that is imported first: files (./mine.py), folders with an `__init__.py`, or modules "
        "(my_package.quant); `DQRUN_PLUGINS` adds to it (docs/howto/plugins.md)",
        [],
    )
    tags: list[str] = doc("words for the row, to find it again: letters, digits and _ - . : / + @", [])
    notes: str = doc("text for the row", "")

    def validate(self) -> None:
        """Checks every field and the rules between fields; raises ConfigError with the first violation."""
        for part in ("dataset", "model", "quant", "method", "plan", "protocol", "train", "loader", "data", "launcher"):
            getattr(self, part).validate()
        require_one_of("track", self.track, TRACKERS)
        require_one_of("device", self.device, ("cpu", "cuda"))
        require_in("jobs", self.jobs, 0, 10_000)
        require_in("processes", self.processes, 1, 1024)
        apart = self.processes == 1 or self.launcher.name == "torchrun"
        require(apart, "processes", f"be 1 with launcher={self.launcher.name} (launcher=torchrun)", self.processes)
        self._validate_method_of_processes()
        sequential = self.launcher.name == "plain"
        require(
            not sequential or self.jobs <= 1, "jobs", "be 0 or 1 with launcher=plain (launcher=parallel)", self.jobs
        )
        require(self.threads >= 0, "threads", "be >= 0", self.threads)
        require_one_of("kernels", self.kernels, ("auto", "reference", "cpu"))
        require_one_of("evaluate.engine", self.evaluate.engine, ("float", "integer"))
        require_tags("tags", self.tags)
        if self.evaluate.engine == "integer":
            self._validate_integer()
        self._validate_loader()
        if not self.quant.is_fp32:
            self.method.validate_in(self)
        brings_folds = self.dataset.source == "pyg" or self.dataset.source in register.dataset.added()
        if is_node_task(self.dataset.task) and not brings_folds:
            require(self.protocol.name == "seeds", "protocol.name", "be seeds for node tasks", self.protocol.name)
        require_sane(asdict(self))

    def _validate_method_of_processes(self) -> None:
        shares = self.quant.is_fp32 or vars(type(self.method)).get("shares_exactly", False)
        rule = f"be 1 with method={self.method.name} (naive, noisy, dq and ptq share batches)"
        require(self.processes == 1 or shares, "processes", rule, self.processes)

    @property
    def starts_warm(self) -> bool:
        """Whether training begins with the parameters of an FP32 trial; FP32 itself never does."""
        return self.train.warm_start == "fp32" and not self.quant.is_fp32

    @property
    def own_train(self) -> TrainConfig:
        """`train` as this run's own trials use it: after a warm start with the changes of `train.fine_tune`."""
        return replace(self.train, **self.train.fine_tune.changes) if self.starts_warm else self.train

    @property
    def has_program(self) -> bool:
        """Whether the trained network can be an integer program: weights and activations have codes, by its plan."""
        widths = self.quant.weight_bits is not None and self.quant.activation_bits is not None
        return widths and self.plan.name == "integer"

    def _validate_loader(self) -> None:
        loader = self.loader
        if loader.division is None:
            return
        name, value, otherwise = loader.division
        require(is_node_task(self.dataset.task), name, f"be {otherwise} for {self.dataset.task}", value)
        require(self.device == "cpu", name, f"be {otherwise} for device={self.device}", value)
        is_layered = self.model.name not in register.model
        require(is_layered, name, f"be {otherwise} for the whole network model={self.model.name}", value)
        if loader.name == "neighbor":
            layers = self.model.layers
            rule = f"hold {layers} numbers, one per layer (model.layers)"
            require(len(loader.fanouts) == layers, "loader.fanouts", rule, loader.fanouts)

    def _validate_integer(self) -> None:
        name, quant, engine = "evaluate.engine", self.quant, self.evaluate.engine
        require(self.plan.name == "integer", name, "be float unless plan=integer", engine)
        widths = quant.weight_bits is not None and quant.activation_bits is not None
        require(widths, name, f"be float for quant={quant.label}", engine)
        require(self.device == "cpu", name, f"be float for device={self.device}", engine)


def require_tags(name: str, tags: Sequence[str]) -> None:
    """Raises ConfigError for text that can't be a tag; `name` is the field or option that gives them."""
    words = all(re.fullmatch(r"[\w.:/+@-]+", tag) for tag in tags)
    require(words, name, "be words of letters, digits and _ - . : / + @", list(tags))


def listed_tags(option: str, text: str | None) -> list[str]:
    """The tags of a comma list, none without a text; raises ConfigError for an invalid tag."""
    words = [] if text is None else text.split(",")
    require_tags(option, words)
    return words


def schema() -> DictConfig:
    """The typed OmegaConf tree into which YAML values are merged."""
    from omegaconf import OmegaConf  # here: programs run without it

    tree: DictConfig = OmegaConf.structured(RunConfig)
    return tree
