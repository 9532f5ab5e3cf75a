"""The bar clock beside indicator libraries: every peer is measured, and a value that differs is an error."""

import importlib
from pathlib import Path

import pytest

for name in ("talib", "wickra", "ferro_ta", "talipp"):
    pytest.importorskip(name)


@pytest.fixture
def peers(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1]))
    return importlib.import_module("benchmarks.peers_features_bars")


def test_every_peer_has_its_lines(peers):
    lines = [line.split() for line in peers.run(rounds=1, bars=300, live=2, symbols=3)]
    peer_names = ("wickra", "ferro-ta", "talipp", "TA-Lib-stream")
    live = [("features", peer, work + how) for work in ("bars32", "bar30") for peer in peer_names for how in (",live", ",live,call")]
    assert [tuple(line[:3]) for line in lines] == [("features", "TA-Lib", "bars32,batch"), ("features", "TA-Lib", "bar30,batch"), *live]
    assert all(float(line[5]) > 0 and line[3].endswith("ns") and line[4].endswith("ns") for line in lines)


def test_a_value_that_differs_is_an_error(peers, monkeypatch):
    honest = peers.Ours.batch

    def wrong(self):
        honest(self)
        self.out[1, peers.NAMES.index("cci_20")] += 0.1

    monkeypatch.setattr(peers.Ours, "batch", wrong)
    with pytest.raises(RuntimeError, match="features: cci_20 of TA-Lib"):
        list(peers.run(rounds=1, bars=300, live=2, symbols=3))


def test_another_version_of_a_peer_is_refused(peers, monkeypatch):
    monkeypatch.setitem(peers.VERSIONS, "wickra", "1.")
    with pytest.raises(RuntimeError, match=r"peer wickra is 2\..*, expected 1\.x\. Install that version"):
        list(peers.run(rounds=1, bars=300, live=2, symbols=3))
