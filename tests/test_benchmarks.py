"""Every benchmark runs: with its first parameters, on a small bank of models."""

from __future__ import annotations

import functools
import importlib
import itertools
import json
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
MODULES = sorted(p.stem for p in FOLDER.glob("bench_*.py"))


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER.parent))
    trees = importlib.import_module("benchmarks.bench_trees")
    monkeypatch.setattr(trees, "bank", functools.partial(trees.bank, configurations=2, trees=5, depth=3, n=500))


def timed(module):
    """(class or None, method name) of each benchmark in a module."""
    for name, thing in vars(importlib.import_module(f"benchmarks.{module}")).items():
        if isinstance(thing, type):
            yield from ((thing, m) for m in dir(thing) if m.startswith("time_"))
        elif name.startswith("time_"):
            yield None, name


@pytest.mark.parametrize("module", MODULES)
def test_a_benchmark_runs_once_with_its_first_parameters(module):
    found = list(timed(module))
    assert found, "asv would find nothing here"
    for cls, method in found:
        assert cls is not None, f"{method} should be a class with setup"
        bench = cls()
        params = getattr(cls, "params", ())
        first = next(itertools.product(*params)) if params and isinstance(params[0], list | tuple) else tuple(params[:1])
        if hasattr(bench, "setup"):
            try:
                bench.setup(*first)
            except NotImplementedError as e:  # as asv takes it: not on this machine
                pytest.skip(f"{cls.__name__}: {e}")
        getattr(bench, method)(*first)


def test_a_run_without_figures_fails_the_check(tmp_path):
    check = importlib.import_module("benchmarks.check")
    assert check.figures(tmp_path, "abc") == 0
    (tmp_path / "box").mkdir()
    (tmp_path / "box" / "machine.json").write_text("{}")
    result = tmp_path / "box" / "1234-env.json"
    result.write_text(json.dumps({"commit_hash": "abc", "results": {"a": [[None]], "b": None}}))
    assert check.figures(tmp_path, "abc") == 0
    result.write_text(json.dumps({"commit_hash": "abc", "results": {"a": [[1.5e-6, None]], "b": [[2.0]]}}))
    assert check.figures(tmp_path, "abc") == 2
    assert check.figures(tmp_path, "def") == 0  # those of another commit


def test_an_unknown_stage_of_the_peers_is_refused(capsys):
    peers = importlib.import_module("benchmarks.peers")
    assert peers.main(["walk"]) == 1
    assert capsys.readouterr().err.startswith("usage: python benchmarks/peers.py {wire|trees|features|decision|plan}")
    assert sys.modules.get("benchmarks.peers_walk") is None
