"""Training on recorded ticks, where a developer has them: what a stock whose spread is one tick leaves after costs."""

import json

import pandas as pd
import pytest
from rich.console import Console

from tickarrow.pipeline import training, training_report
from tickarrow.pipeline.prepare import compose


def test_a_stock_with_a_spread_of_one_tick_leaves_nothing_after_costs(equity_ticks, tmp_path, capsys):
    small = [
        "training.horizons_s=[5.0,60.0]", "training.max_rows=6000", "training.trees=20", "training.folds=2", "training.leak_ticks=0", "training.leak_shifts=1",
        "training.configurations=[{depth: 4, eta: 0.1, seed: 1}, {library: lightgbm, depth: 5, leaves: 15, seed: 2}]",
    ]  # fmt: skip
    conf = compose("train", ["source=parquet", f"source.path={equity_ticks}", "source.symbols=[BAC]", "source.day=2013-10-08", *small])
    found = training.train_source(conf.source, conf.universe, conf.features, conf.training, tmp_path / "bac", conf.costs)
    metrics = pd.read_parquet(found.path / "report" / "metrics.parquet")
    assert len(metrics) == 2 * 2 * 3
    # A cent of some 13.9 dollars is 7.2 bp, and twice 0.005 a share as much again: far beyond what is forecast for a minute.
    assert metrics.cost_bp.between(13.0, 16.0).all()
    assert (metrics.mean_forecast_bp < 3.0).all()
    assert (metrics.trade_share < 0.01).all()
    traded = metrics[metrics.trades > 0]
    assert not (traded.net_bp * traded.trades).sum() > 0.0
    lines = json.loads((found.path / "report" / "training.json").read_text())["horizons"]
    assert {(line["horizon_s"], line["part"]) for line in lines} == {(5.0, "folds"), (5.0, "tail"), (60.0, "folds"), (60.0, "tail")}
    assert all(line["ic"] == pytest.approx(0.0, abs=0.4) for line in lines)  # no price is forecast better than that
    training_report.show(Console(width=200), found.path / "report")
    assert "60 s" in capsys.readouterr().out
