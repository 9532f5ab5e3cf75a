"""The linear algebra of a decision beside NumPy and scikit-learn: every peer is measured, and a value that differs is an error."""

import importlib
from pathlib import Path

import pytest

pytest.importorskip("sklearn")


@pytest.fixture
def peers(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1]))
    return importlib.import_module("benchmarks.peers_decision")


def test_every_peer_has_its_line(peers):
    lines = [line.split() for line in peers.run(rounds=1, symbols=4)]
    assert [line[1:3] for line in lines] == [
        ["numpy-stacked", "eigen-full,5lanes"], ["numpy-loop", "eigen-full,5lanes"], ["numpy-stacked", "eigen-full,8lanes"],
        ["numpy-stacked", "eigen-tracked,5lanes"], ["numpy-iteration", "eigen-tracked,5lanes"], ["numpy-stacked", "eigen-tracked,8lanes"],
        ["numpy-stacked", "weights"], ["numpy+scikit-learn", "weights,window"], ["scikit-learn", "ledoit-wolf"], ["numpy-stacked", "chain"],
    ]  # fmt: skip
    assert all(line[0] == "decision" and line[3].endswith("us") and line[4].endswith("us") and float(line[5]) > 0 for line in lines)


def test_weights_that_differ_are_an_error(peers, monkeypatch):
    weights = peers._numpy_weights
    monkeypatch.setattr(peers, "_numpy_weights", lambda c, ic, rho: weights(c, ic, rho) * (1 + 1e-5))
    with pytest.raises(RuntimeError, match="decision: weights differ from those of numpy 2"):
        list(peers.run(rounds=1, symbols=4))


def test_a_chain_that_differs_is_an_error(peers, monkeypatch):
    from benchmarks import peers_decision_chain as whole

    ics = whole.Chain._ics
    monkeypatch.setattr(whole.Chain, "_ics", lambda self, ts: ics(self, ts) * (1 + 1e-5))
    with pytest.raises(RuntimeError, match="decision: alpha of the whole chain differs from that of numpy 2"):
        list(peers._chain())


def test_another_version_of_a_peer_is_refused(peers, monkeypatch):
    monkeypatch.setitem(peers.VERSIONS, "numpy", "1.")
    with pytest.raises(RuntimeError, match=r"decision: peer numpy is 2\.[0-9.]+, expected 1\.x\. Install that version\."):
        list(peers.run())
