"""The results of a sweep, one row a job."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pyarrow.parquet as pq
from omegaconf import OmegaConf

from tickarrow.pipeline.backtest import SHOWN, GatherResults


def test_the_results_of_a_sweep_hold_its_overrides_in_full(tmp_path):
    # Hydra saves overrides as YAML, which folds a long one at its blanks.
    path = "source.path='/a folder with a rather long name/and another one in it that makes the line long/my ticks.parquet'"
    for job, hurdle in enumerate(["risk.hurdle=1", "risk.hurdle=2"]):
        folder = tmp_path / str(job)
        (folder / ".hydra").mkdir(parents=True)
        OmegaConf.save(OmegaConf.create([path, hurdle, "universe.symbols=[AAA,BBB]"]), folder / ".hydra" / "overrides.yaml")
        (folder / "result.json").write_text(json.dumps({"reasons": {"order": job}} | dict.fromkeys(SHOWN, 1.0)))
    GatherResults().on_multirun_end(SimpleNamespace(hydra=SimpleNamespace(sweep=SimpleNamespace(dir=str(tmp_path)))))
    rows = pq.read_table(tmp_path / "results.parquet").to_pylist()
    assert [row["risk.hurdle"] for row in rows] == ["1", "2"]
    assert {row["source.path"] for row in rows} == {path.removeprefix("source.path=")}
    assert {row["universe.symbols"] for row in rows} == {"[AAA,BBB]"}
    assert [row["reason_order"] for row in rows] == [0, 1]
