"""The features stage beside libraries: every peer is measured, and a value that differs is an error."""

import importlib
from pathlib import Path

import pytest

for name in ("numbagg", "bottleneck", "pandas", "polars", "wickra"):
    pytest.importorskip(name)


@pytest.fixture
def peers(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1]))
    return importlib.import_module("benchmarks.peers_features")


def test_every_peer_has_its_line(peers):
    universe, market = peers._market(20_000)
    lines = [line.split() for line in (*peers._ticks(2, universe, market), *peers._roll(1, 400))]
    assert [line[1] for line in lines] == ["wickra", "numbagg", "Bottleneck", "pandas", "polars"]
    assert all(line[0] == "features" and float(line[5]) > 0 and line[3].endswith("ns") and line[4].endswith("ns") for line in lines)


def test_any_cut_of_the_market_gives_the_same_rows(peers, monkeypatch):
    universe, market = peers._market(20_000)
    lines = [line.split() for line in peers._all(2, universe, market)]
    assert len(lines) == 6
    monkeypatch.setattr(peers, "_cut", lambda table, size, lo, hi, cut=peers._cut: cut(table, size, lo, hi - (size == 1)))
    with pytest.raises(RuntimeError, match="batches of 64, single ticks and blocks differ"):
        list(peers._all(2, universe, market))


def test_a_value_that_differs_is_an_error(peers, monkeypatch):
    monkeypatch.setattr(peers, "_numbagg", lambda x: [values + 0.1 for values in peers._bottleneck(x)[:3]])
    with pytest.raises(RuntimeError, match=r"features: output 0 of numbagg .* differs"):
        list(peers._roll(1, 400))
