"""Certificates: what is compared, what is stored, what a stored one still says, and what is left out. The engine here is a plain walk."""

import json
import sys

import naive_trees as naive
import numpy as np
import pytest
from library_models import of_lightgbm, of_sklearn, of_xgboost
from models_common import COLUMNS, DIGEST, HORIZONS, bits, load

from tickarrow.configs.models import ModelsConf
from tickarrow.pipeline import certificate, models
from tickarrow.pipeline.errors import ModelError


class Walk:
    """An engine that walks each tree; `wrong` adds one bit to the margins of that model where the first feature is above 1."""

    name = "walk"

    def __init__(self, model_set, wrong=None):
        self.forests, self.wrong, self.rows = model_set.forests, wrong, 0

    def predict(self, x, lo, hi, y):
        out = y[: hi - lo]
        out[:] = naive.bank(self.forests, x[lo:hi])
        if self.wrong is not None:
            high = x[lo:hi, 0] > 1
            out[high, self.wrong] = np.nextafter(out[high, self.wrong], np.float32(np.inf))

    def ways(self):
        def counted(x, lo, hi, y):
            self.rows += hi - lo
            Walk.predict(self, x, lo, hi, y)

        return [counted]


class Alone(Walk):
    """Wrong where a row comes alone, which no other way shows."""

    def predict(self, x, lo, hi, y):
        super().predict(x, lo, hi, y)
        if hi - lo == 1:
            y[0, 2] = np.nextafter(y[0, 2], np.float32(np.inf))


def small_probes(forests, seed=0):
    """Every 40th row: a walk in Python is slow."""
    return np.ascontiguousarray(certificate_rows(forests, seed)[::40])


certificate_rows = certificate.probe_rows


@pytest.fixture
def mixed(tmp_path, monkeypatch):
    """A set of three libraries and the file of an engine."""
    monkeypatch.setattr(certificate, "probe_rows", small_probes)
    models.save_set(
        tmp_path / "mixed", [of_xgboost("binary:logistic"), of_lightgbm(), of_sklearn("GradientBoostingRegressor"), of_sklearn()],
        configurations=["a", "b"], horizons_ns=HORIZONS, columns=COLUMNS, feature_digest=DIGEST, ic=np.zeros((2, 2)),
    )  # fmt: skip
    (tmp_path / "mixed" / "walk.forest").write_bytes(b"layout")
    return tmp_path / "mixed"


def held(path, sample_rows=64, **engine):
    """Rows that an engine is compared on at one load."""
    found = load(path)
    walk = Walk(found, **engine)
    certificate.check(found, walk, path / "walk.forest", ModelsConf(sample_rows=sample_rows))
    return walk.rows


def test_the_whole_check_is_made_once_then_a_sample(mixed):
    found = load(mixed)
    whole = len(small_probes(found.forests))
    assert held(mixed) == whole
    assert held(mixed, sample_rows=7) == 7


def test_a_certificate_says_what_was_compared_and_what_with(mixed):
    held(mixed)
    found = load(mixed)
    stored = certificate.stored(found, "walk")
    rows = small_probes(found.forests)
    refused = (np.isnan(rows) | np.isinf(rows)).any(axis=1).sum()  # by GradientBoosting of scikit-learn, one of the four
    assert 0 < refused < len(rows)
    assert (stored["rows"], stored["models"], stored["left_out"], stored["mismatches"]) == (len(rows), 4, refused, {})
    assert stored["file"] == "walk.forest"
    assert stored["model_set"] == found.digest
    assert set(stored["libraries"]) == {"xgboost", "lightgbm", "scikit-learn"}
    assert len(stored["code"]) == len(stored["digest"]) == len(stored["probes"]) == 32
    assert stored["cpu"]
    assert "numba" in stored["compiler"]
    assert json.dumps(stored)


def test_a_difference_is_stored_raised_and_checked_again(mixed):
    found = load(mixed)
    rows = small_probes(found.forests)
    text = rf"^model 'a/h1' gives \S+ where lightgbm gives \S+ \(1 of 4 models differ on {len(rows)} probe rows\)\.$"
    with pytest.raises(certificate.CertificateError, match=text):
        held(mixed, wrong=1)
    outcome = load(mixed).manifest["certificates"]["walk"]
    assert outcome["mismatches"] == {"a/h1": int((rows[:, 0] > 1).sum())}
    assert certificate.stored(load(mixed), "walk") is None
    assert held(mixed) == len(rows)


def test_a_difference_that_comes_later_fails_the_sample(mixed):
    held(mixed)
    with pytest.raises(certificate.CertificateError, match="model 'b/h1' gives"):
        held(mixed, sample_rows=10_000, wrong=3)


def test_a_kernel_that_is_wrong_with_one_row_is_found(mixed):
    found = load(mixed)
    rows = small_probes(found.forests)
    differ, (model, ours, theirs) = certificate.mismatches(found, Alone(found), rows, certificate.oracle_margins(found, rows))
    assert (model, ours) == (2, np.nextafter(np.float32(theirs), np.float32(np.inf)))
    good = certificate.accepted(found, rows[: certificate.ALONE])[:, 2]
    assert differ.tolist() == [0, 0, good.sum(), 0]


def test_rows_that_the_library_refuses_are_left_out(mixed):
    found = load(mixed)
    rows = np.zeros((3, 6), np.float32)
    rows[1, 0], rows[2, 5] = np.nan, np.inf
    assert certificate.accepted(found, rows).tolist() == [[True] * 4, [True, True, False, True], [True, True, False, True]]
    margins = certificate.oracle_margins(found, rows)
    assert np.isnan(margins[1:, 2]).all()
    certificate.compare(found, Walk(found), rows, margins)


def test_recorded_rows_are_compared_beside_the_probes(mixed):
    found = load(mixed)
    recorded = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    got = certificate.certify(found, Walk(found), mixed / "walk.forest", recorded)
    assert (got["rows"], got["recorded_rows"]) == (len(small_probes(found.forests)) + 40, 40)


def test_another_engine_uses_the_margins_that_are_there(mixed, monkeypatch):
    held(mixed)
    monkeypatch.setattr(certificate, "oracle_margins", lambda *a: pytest.fail("asked the libraries again"))
    found = load(mixed)
    other = Walk(found)
    other.name = "other"
    certificate.check(found, other, mixed / "walk.forest", ModelsConf())
    assert certificate.stored(load(mixed), "other")["rows"] == other.rows


@pytest.mark.parametrize("damage", [b"", b"nothing", b"PK\x03\x04"])
def test_damaged_probes_are_made_again(mixed, damage):
    held(mixed)
    (mixed / "probes.npz").write_bytes(damage)
    assert held(mixed) == len(small_probes(load(mixed).forests))


def test_a_library_that_is_gone_has_not_changed(mixed, monkeypatch):
    held(mixed)
    found = load(mixed)
    walk = Walk(found)
    installed = certificate.library.installed
    monkeypatch.setattr(certificate.library, "installed", lambda name: None if name == "lightgbm" else installed(name))
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    certificate.check(found, walk, mixed / "walk.forest", ModelsConf(sample_rows=5))
    assert walk.rows == 5
    monkeypatch.setattr(certificate.library, "installed", lambda name: "99" if name == "xgboost" else installed(name))
    with pytest.raises(ModelError, match=r"^lightgbm is not installed and a model of this set needs it here. Install tickarrow\[lightgbm\]\.$"):
        certificate.check(load(mixed), walk, mixed / "walk.forest", ModelsConf())


def test_a_file_that_did_not_pass_is_refused(mixed):
    held(mixed)
    (mixed / "walk.forest").write_bytes(b"another")
    with pytest.raises(ModelError) as e:
        held(mixed)
    assert str(e.value) == f"{mixed / 'walk.forest'} is not the file that passed the parity check. Remove it: it is made again from the models."


def test_probe_rows_hold_every_cut_its_neighbours_and_all_special_values():
    from library_models import data

    from tickarrow.pipeline import library

    forests = [library.wrap(m).forest("m") for m in (of_xgboost(), of_lightgbm("zeros"), of_sklearn())]
    rows = certificate_rows(forests)
    for forest in forests:
        for f, c in zip(forest.feature[forest.inner], forest.cut[forest.inner]):
            if np.isfinite(c):
                for value in (c, np.nextafter(c, np.float32(np.inf)), np.nextafter(c, np.float32(-np.inf))):
                    assert value in rows[:, f]
    for value in np.array([np.nan, np.inf, -np.inf, -0.0, 1e-42, 1e-35, 3.4028235e38], np.float32):
        assert (bits(rows) == bits(np.array([value]))).all(axis=1).any()
    missing = np.isnan(rows)
    for f in range(6):
        assert (missing[:, f] & (missing.sum(axis=1) == 1)).any()
    assert rows.shape[1] == data()[0].shape[1]


def test_every_way_of_an_engine_is_compared(mixed):
    model_set = load(mixed)
    good, bad = Walk(model_set), Walk(model_set, wrong=1)
    good.ways = lambda: [good.predict, bad.predict]
    with pytest.raises(certificate.CertificateError):
        certificate.certify(model_set, good, mixed / "walk.forest")
    assert certificate.stored(model_set, "walk") is None
