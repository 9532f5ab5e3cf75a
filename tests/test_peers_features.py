"""The features stage beside libraries: every peer is measured, and a value that differs is an error."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

for name in ("numbagg", "bottleneck", "pandas", "polars", "wickra"):
    pytest.importorskip(name)


@pytest.fixture
def peers(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1]))
    return importlib.import_module("benchmarks.peers_features")


@pytest.fixture
def optional(peers):
    return importlib.import_module("benchmarks.peers_features_optional")


def test_every_peer_has_its_line(peers, optional, monkeypatch):
    monkeypatch.setitem(optional.PEERS, "absent", None)
    monkeypatch.setitem(optional.INSTALL, "absent", "pip install absent")
    universe, market = peers._market(20_000)
    lines = [line.split() for line in (*peers._ticks(2, universe, market), *peers._roll(1, 400))]
    measured = [line for line in lines if "measured:" not in line]
    assert [line[1] for line in measured][:5] == ["wickra", "numbagg", "Bottleneck", "pandas", "polars"]
    assert all(line[0] == "features" and float(line[5]) > 0 and line[3].endswith("ns") and line[4].endswith("ns") for line in measured)
    assert {line[1] for line in lines[5:]} == {"vectorbt", "csp", "absent"}
    reason = "not measured: ModuleNotFoundError: No module named 'absent' (pip install absent)"
    assert [*lines[-1][:4], *lines[-1][5:]] == ["features", "absent", "roll", "-", "-", *reason.split()]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("", ""),
        ("raise AttributeError('built for another\\nNumPy')", "not measured: AttributeError: built for another NumPy (pip)"),
        ("VERSION = '2.5'", "not measured: version 2.5, expected 1.x (pip)"),
    ],
)
def test_why_a_peer_is_not_measured(optional, monkeypatch, tmp_path, source, reason):
    (tmp_path / "a_peer.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "a_peer", raising=False)
    monkeypatch.setattr(optional, "version", lambda name: getattr(sys.modules[name], "VERSION", "1.0"))
    monkeypatch.setitem(optional.VERSIONS, "a_peer", "1.")
    monkeypatch.setitem(optional.INSTALL, "a_peer", "pip")
    assert optional.why_not("a_peer") == reason


@pytest.mark.parametrize("peer", ["vectorbt", "csp"])
def test_a_value_of_an_optional_peer_that_differs_is_an_error(peers, optional, monkeypatch, peer):
    if why := optional.why_not(peer):
        pytest.skip(why)
    make = optional.PEERS[peer]
    monkeypatch.setattr(optional, "PEERS", {peer: lambda x, windows: make(np.where(np.arange(x.shape[1]) == 300, x + 1000, x), windows)})
    with pytest.raises(RuntimeError, match=rf"features: output 0 of {peer} .* differs"):
        list(peers._roll(1, 400))


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
