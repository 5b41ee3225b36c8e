"""The schema of a run: types and rules here, values in `configs/*.yaml`.

Everything below `composition/` gets these dataclasses, never a DictConfig. `doc(...)` gives each field its meaning,
unit and range; `docs/reference/configuration.md` is generated from them.
"""

from dqrun.config.dataset import FEATURES as FEATURES
from dqrun.config.dataset import DataConfig as DataConfig
from dqrun.config.dataset import DatasetConfig as DatasetConfig
from dqrun.config.loader import LoaderConfig as LoaderConfig
from dqrun.config.method import ESTIMATORS as ESTIMATORS
from dqrun.config.method import OBSERVER_UPDATES as OBSERVER_UPDATES
from dqrun.config.method import MethodConfig as MethodConfig
from dqrun.config.method import ObserverConfig as ObserverConfig
from dqrun.config.model import ModelConfig as ModelConfig
from dqrun.config.plan import PlanConfig as PlanConfig
from dqrun.config.plan import SiteRule as SiteRule
from dqrun.config.quant import QuantConfig as QuantConfig
from dqrun.config.run import LAUNCHERS as LAUNCHERS
from dqrun.config.run import TRACKERS as TRACKERS
from dqrun.config.run import LauncherConfig as LauncherConfig
from dqrun.config.run import ResultsConfig as ResultsConfig
from dqrun.config.run import RunConfig as RunConfig
from dqrun.config.run import schema as schema
from dqrun.config.tasks import TASKS as TASKS
from dqrun.config.train import SCHEDULES as SCHEDULES
from dqrun.config.train import STARTS as STARTS
from dqrun.config.train import EvaluateConfig as EvaluateConfig
from dqrun.config.train import FineTuneConfig as FineTuneConfig
from dqrun.config.train import ProtocolConfig as ProtocolConfig
from dqrun.config.train import ScheduleConfig as ScheduleConfig
from dqrun.config.train import TrainConfig as TrainConfig
