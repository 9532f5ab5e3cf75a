"""What the stages are told, together; and the root configuration of each command."""

from dataclasses import dataclass, field

from omegaconf import MISSING

from tickarrow.configs.costs import CostsConf
from tickarrow.configs.ensemble import EnsembleConf
from tickarrow.configs.features import FeaturesConf
from tickarrow.configs.fills import FillsConf
from tickarrow.configs.gateway import GatewayConf
from tickarrow.configs.kill import KillConf
from tickarrow.configs.models import ModelsConf
from tickarrow.configs.orders import OrdersConf
from tickarrow.configs.record import RecordConf
from tickarrow.configs.risk import RiskConf
from tickarrow.configs.runtime import RuntimeConf
from tickarrow.configs.source import SourceConf
from tickarrow.configs.training import TrainingConf
from tickarrow.configs.universe import UniverseConf


@dataclass
class PipelineConf:
    """Configuration of the stages. `model_set` names the set that predicts; none = the default set, trained if it is not there."""

    universe: UniverseConf = field(default_factory=UniverseConf)
    features: FeaturesConf = field(default_factory=FeaturesConf)
    models: ModelsConf = field(default_factory=ModelsConf)
    ensemble: EnsembleConf = field(default_factory=EnsembleConf)
    costs: CostsConf = field(default_factory=CostsConf)
    risk: RiskConf = field(default_factory=RiskConf)
    orders: OrdersConf = field(default_factory=OrdersConf)
    record: RecordConf = field(default_factory=RecordConf, metadata={"digest": False})
    model_set: str | None = field(default=None, metadata={"digest": False})  # a name or path; its content has a digest of its own
    reference: list[str] = field(default_factory=list, metadata={"digest": False})  # stages by plain Python: decode, features, ensemble, act; slow


@dataclass
class MarketConf(PipelineConf):
    """The stages over a source of ticks, and how the default model set comes to be."""

    source: SourceConf = field(default_factory=SourceConf)
    training: TrainingConf = field(default_factory=TrainingConf)
    training_source: SourceConf = field(default_factory=SourceConf)  # the market of the default model set
    training_universe: UniverseConf = field(default_factory=UniverseConf)


@dataclass
class RunConf(MarketConf):
    """tickarrow run."""

    gateway: GatewayConf = field(default_factory=GatewayConf)
    runtime: RuntimeConf = field(default_factory=RuntimeConf, metadata={"digest": False})
    kill: KillConf = field(default_factory=KillConf, metadata={"digest": False})


@dataclass
class SimulateConf:
    """tickarrow simulate."""

    universe: UniverseConf = field(default_factory=UniverseConf)
    source: SourceConf = field(default_factory=SourceConf)
    gateway: GatewayConf = field(default_factory=GatewayConf)
    costs: CostsConf = field(default_factory=CostsConf)


@dataclass
class BacktestConf(MarketConf):
    """tickarrow backtest."""

    fills: FillsConf = field(default_factory=FillsConf)


@dataclass
class TrainConf:
    """tickarrow train."""

    universe: UniverseConf = field(default_factory=UniverseConf)
    source: SourceConf = field(default_factory=SourceConf)
    features: FeaturesConf = field(default_factory=FeaturesConf)
    training: TrainingConf = field(default_factory=TrainingConf)
    costs: CostsConf = field(default_factory=CostsConf)  # of what a forecast leaves
    name: str | None = None  # of the model set; none = named after its source


@dataclass
class ReplayConf:
    """tickarrow replay."""

    session: str = MISSING  # directory
    engine: str | None = None  # none = the engine that the session ran with
    reference: list[str] = field(default_factory=list)  # stages by plain Python: decode, features, ensemble, act; slow


@dataclass
class DecodeConf:
    """tickarrow decode."""

    path: str = MISSING  # file of length-prefixed frames, or a session directory
    out: str = MISSING  # Parquet file to write


@dataclass
class RecordCommandConf:
    """tickarrow record."""

    universe: UniverseConf = field(default_factory=UniverseConf)
    gateway: GatewayConf = field(default_factory=GatewayConf)
    source: SourceConf = field(default_factory=SourceConf)  # of the simulated gateway
    record: RecordConf = field(default_factory=RecordConf)
    runtime: RuntimeConf = field(default_factory=RuntimeConf, metadata={"digest": False})


@dataclass
class SessionCheckConf:
    """tickarrow session check."""

    session: str = MISSING  # directory
    repair: bool = False  # recover a session that was killed: cut what was not whole, as opening it does


@dataclass
class CompactConf:
    """tickarrow session compact."""

    session: str = MISSING  # directory


@dataclass
class SessionExportConf:
    """tickarrow session export."""

    session: str = MISSING  # directory
    out: str = MISSING  # folder to write to
    kinds: list[str] = field(default_factory=list)  # of messages, trades, quotes, depth, bars, greeks, control; empty = all


@dataclass
class FeaturesCacheConf:
    """tickarrow features cache."""

    clear: bool = False  # remove all entries that nobody uses now
