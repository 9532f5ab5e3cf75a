"""Typed configuration: one dataclass module per config group. `register` makes them the schemas of the YAML files in `conf`."""

from __future__ import annotations


def register() -> None:
    """Put every dataclass into Hydra's ConfigStore: `<group>/schema` for a group, `root/<command>` for a command."""
    from hydra.core.config_store import ConfigStore

    from tickarrow.configs import (
        costs,
        doctor,
        ensemble,
        explain,
        features,
        features_check,
        features_show,
        fetch,
        fills,
        gateway,
        kill,
        market,
        models,
        orders,
        pipeline,
        record,
        registry,
        risk,
        runtime,
        source,
        training,
        universe,
        verify,
    )

    groups = {
        "universe": universe.UniverseConf, "source": source.SourceConf, "gateway": gateway.GatewayConf, "features": features.FeaturesConf,
        "models": models.ModelsConf, "ensemble": ensemble.EnsembleConf, "costs": costs.CostsConf, "risk": risk.RiskConf,
        "orders": orders.OrdersConf, "training": training.TrainingConf, "fills": fills.FillsConf, "record": record.RecordConf,
        "runtime": runtime.RuntimeConf, "kill": kill.KillConf,
    }  # fmt: skip
    roots = {
        "run": pipeline.RunConf, "kill": kill.KillCommandConf, "replay": pipeline.ReplayConf, "train": pipeline.TrainConf, "decode": pipeline.DecodeConf,
        "backtest": pipeline.BacktestConf, "session_check": pipeline.SessionCheckConf, "session_compact": pipeline.CompactConf,
        "market": market.MarketReportConf, "import": source.ImportConf, "record": pipeline.RecordCommandConf,
        "simulate": pipeline.SimulateConf, "fetch": fetch.FetchConf, "session_export": pipeline.SessionExportConf,
        "features_cache": pipeline.FeaturesCacheConf,
        "features_check": features_check.FeaturesCheckConf, "features_list": features_show.FeaturesListConf,
        "features_describe": features_show.FeaturesDescribeConf, "verify": verify.VerifyConf, "explain": explain.ExplainConf,
        "doctor_latency": doctor.DoctorLatencyConf,
        "models_list": registry.ModelsListConf, "models_show": registry.ModelsShowConf, "models_promote": registry.ModelsPromoteConf,
        "models_rollback": registry.ModelsRollbackConf, "models_diff": registry.ModelsDiffConf,
    }  # fmt: skip
    store = ConfigStore.instance()
    for group, node in groups.items():
        store.store(group=group, name="schema", node=node)
    for command, root in roots.items():
        store.store(group="root", name=command, node=root, package="_global_")
