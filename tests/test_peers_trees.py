"""Forest inference beside its peers: every peer has its line, and margins that differ are an error."""

import importlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import xgboost


@pytest.fixture
def peers(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1]))
    return importlib.import_module("benchmarks.peers_trees")


@pytest.fixture
def small(peers, monkeypatch):
    """A bank of five models in the place of eighty, and no time for the peers."""
    bench = importlib.import_module("benchmarks.bench_trees")
    monkeypatch.setattr(peers, "SECONDS", {})
    return lambda work: bench.bank(1, 2, 3, n=2_000)


@pytest.fixture
def none_optional(peers, monkeypatch):
    monkeypatch.setattr(importlib.import_module("benchmarks.peers_trees_optional"), "why_not", lambda name, work: "not measured: not here")


def test_every_peer_has_its_line(peers, small, none_optional):
    lines = [line.split() for line in peers.run([peers.Work("5x2x3", trees=2, depth=3)], (1, 100), small)]
    absent = [line for line in lines if "measured:" in line]
    assert [line[1] for line in absent] == ["onnxruntime", "oneDAL", "tl2cgen", "ydf"]
    measured = [line for line in lines if line not in absent]
    library = ["xgboost-inplace", "xgboost-dmatrix"]
    assert [(line[1], line[2]) for line in measured] == [
        *((name, "5x2x3,rows=1") for name in [*library, "xgboost-c-api", "treelite-gtil"]), *((name, "5x2x3,rows=100") for name in [*library, "treelite-gtil"]),
    ]  # fmt: skip
    assert all(re.fullmatch(r"trees \S+ \S+ [0-9.e+-]+us [0-9.e+-]+us [0-9.e+-]+", " ".join(line)) for line in measured)


def test_other_conditions_have_their_lines(peers, small):
    bench = importlib.import_module("benchmarks.bench_trees")
    model_set, work = small(None), peers.WORKS[0]
    xgboost = peers.subjects(work, model_set)["xgboost-inplace"]
    lines = [line.split() for line in peers.alone(work, model_set, bench.engine(model_set, "auto"), xgboost, bench.rows(2_100))]
    assert [line[1] for line in lines] == ["cold-caches", "xgboost-inplace", "xgboost-inplace", "one-thread"]


def test_margins_that_differ_are_an_error(peers, small, none_optional, monkeypatch):
    def wrong(self, x, lo, hi, y):
        y[: hi - lo] = 0.0

    bench, work = importlib.import_module("benchmarks.bench_trees"), peers.Work("5x2x3", trees=2, depth=3)
    monkeypatch.setattr(bench, "engine", lambda model_set, name: type("Wrong", (), {"name": "wrong", "predict": wrong})())
    with pytest.raises(RuntimeError, match="xgboost-inplace and wrong differ on 1 rows by up to"):
        list(peers.run([work], (1,), small))
    monkeypatch.setattr("treelite.__version__", "9.0")
    with pytest.raises(RuntimeError, match=r"peer treelite has version 9.0, these figures are for 4.x. Look at its changes first."):
        list(peers.run([work], (1,), small))


def test_a_peer_that_is_not_there_says_how_to_get_it(peers, monkeypatch):
    optional = importlib.import_module("benchmarks.peers_trees_optional")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    said = optional.why_not("onnxruntime", peers.WORKS[0])
    assert said.startswith("not measured: ModuleNotFoundError")
    assert said.endswith("(pip install onnxruntime onnxmltools)")
    monkeypatch.setitem(optional.MODULES, "oneDAL", ())
    assert optional.why_not("oneDAL", peers.WORKS[0]) == ""
    assert optional.why_not("oneDAL", peers.Work("x", "lightgbm")) == "not measured: lightgbm models are compared with lightgbm"
    assert "first bank only" in optional.why_not("tl2cgen", peers.Work("x"))


@pytest.mark.parametrize("more", [{}, {"own_grids": True}, {"leaves": 9}, {"library": "lightgbm", "leaves": 9}])
def test_the_models_of_a_bank_differ_and_are_what_they_are_called(peers, more):
    banks, library = importlib.import_module("benchmarks.tree_banks"), importlib.import_module("tickarrow.pipeline.library")
    if more.get("library"):
        pytest.importorskip("lightgbm")
    work = banks.Work("small", trees=3, depth=4, features=12, rows=600, **more)
    one, two = (library.wrap(banks.train(work, m)).forest("m") for m in (0, 1))
    assert one.n_trees == 3
    assert one.leaves.max() <= (work.leaves or 16)
    assert one.library == work.library
    if work.library == "xgboost":
        x = importlib.import_module("benchmarks.bench_trees").rows(work.rows, features=work.features)
        grid = xgboost.QuantileDMatrix(x, max_bin=128).get_quantile_cut()[1]
        assert np.isin(np.concatenate([one.cut[one.inner], two.cut[two.inner]]), grid).all() != work.own_grids
    assert not np.array_equal(one.leaf, two.leaf)
