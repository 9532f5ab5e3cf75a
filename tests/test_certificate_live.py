"""The sampled comparison of a running session: which rows, what is found, kept and told, and that it never holds up who predicts."""

import io
import json
import os
import time

import numpy as np
import pytest
from commands import run
from library_models import data, of_lightgbm, of_sklearn, of_xgboost
from models_common import COLUMNS, DIGEST, HORIZONS, bits
from sets_common import noise_set
from test_parity import EAGER

from tickarrow.configs.models import ModelsConf
from tickarrow.pipeline import certificate, certificate_live, models
from tickarrow.pipeline.certificate_live import CHECKED, SLOTS, LiveCheck, LiveChecks
from tickarrow.pipeline.errors import ConfigError
from tickarrow.pipeline.models import read_set
from tickarrow.pipeline.predict import Served
from tickarrow.pipeline.prepare import compose


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    path = tmp_path_factory.mktemp("sets") / "mixed"
    models.save_set(
        path, [of_xgboost(), of_lightgbm(), of_sklearn("GradientBoostingRegressor"), of_xgboost("count:poisson")],
        configurations=["a", "b"], horizons_ns=HORIZONS, columns=COLUMNS, feature_digest=DIGEST, ic=np.zeros((2, 2)),
    )  # fmt: skip
    return read_set(path)


@pytest.fixture(scope="module")
def predicted(mixed):
    """Rows of features and the margins of an engine that is right."""
    x, _ = data()
    return x, certificate.oracle_margins(mixed, x)


class Child:
    """In place of the other process: it does nothing until it is asked."""

    returncode, says = 0, ""

    def __init__(self, arguments, **more):
        self.arguments, self.stdout = arguments, io.StringIO(self.says)

    def poll(self):
        return self.returncode

    def wait(self, timeout=None):
        return self.returncode

    kill = wait


@pytest.fixture
def alone(mixed, tmp_path, monkeypatch):
    """A check whose other process is a function that the test calls."""
    monkeypatch.setattr(certificate_live.subprocess, "Popen", Child)
    check = LiveCheck(mixed, 7, tmp_path)

    def follow():
        check._head[certificate_live.STOP] = 1
        certificate_live.follow(*certificate_live.ring(check._ring, 6, 4), mixed, check.path, 0)

    yield check, follow
    check.close()


@pytest.mark.parametrize("cut", [1, 5, 7, 100, 500])
def test_one_row_in_n_is_taken_however_the_rows_are_cut(alone, predicted, cut):
    check, _ = alone
    x, y = predicted
    out = np.empty((500, 4), np.float32)
    for lo in range(0, 500, cut):
        hi = min(lo + cut, 500)
        out[: hi - lo] = y[lo:hi]
        check.offer(x, lo, hi, out)
    assert (check.rows, check.report()["offered"]) == (500, 71)  # 500 // 7
    np.testing.assert_array_equal(bits(check._x[:71]), bits(x[6::7]))
    np.testing.assert_array_equal(bits(check._y[:71]), bits(y[6::7]))


def test_rows_that_differ_are_counted_kept_and_told_once(alone, mixed, predicted):
    check, follow = alone
    x, y = predicted
    wrong = y.copy()
    wrong[13, 1] = np.nextafter(wrong[13, 1], np.float32(np.inf))  # row 13 is the second of the sample
    wrong[14, 0] = 5.0  # not in the sample
    check.offer(x, 0, 500, wrong)
    assert check.news() is None
    follow()
    assert check.report() == {"model_set": mixed.digest, "every": 7, "rows": 500, "offered": 71, "let_go": 0, "checked": 71, "mismatches": 1}
    assert check.news() == (
        f"1 of 71 rows of the sample differ from the library in model set 'mixed': {check.path}. Stop and run: tickarrow verify model_set=mixed"
    )
    assert check.news() is None
    (line,) = check.path.read_text().splitlines()
    kept = json.loads(line)
    np.testing.assert_array_equal(np.frombuffer(bytes.fromhex(kept["row"]), np.uint32), bits(x[13]))
    ours, theirs = (np.frombuffer(bytes.fromhex(h), np.float32)[0] for h in kept["models"]["a/h1"])
    assert (ours, theirs, len(kept["models"])) == (wrong[13, 1], y[13, 1], 1)


def test_a_full_ring_lets_rows_go_and_does_not_wait(alone, predicted):
    check, follow = alone
    x, y = predicted
    for _ in range(10):
        check.offer(x, 0, 500, y)
    assert check.report()["offered"] == SLOTS
    assert check.let_go == 5000 // 7 - SLOTS
    follow()
    assert check.report()["checked"] == SLOTS
    check.offer(x, 0, 500, y)
    assert check.report()["offered"] > SLOTS
    follow()
    assert check.report()["mismatches"] == 0


def test_rows_that_a_library_refuses_are_no_mismatch(alone):
    check, follow = alone
    rows = np.full((7, 6), np.nan, np.float32)
    other = np.zeros((7, 4), np.float32)
    other[6] = certificate.oracle_margins(check.model_set, rows[6:])[0]
    other[6, 2] = 3.0  # an engine has a number where scikit-learn has none
    check.offer(rows, 0, 7, other)
    follow()
    assert (check.report()["checked"], check.report()["mismatches"]) == (1, 0)


def test_the_other_process_ends_when_its_session_has_died_before_it_looked(alone):
    check, _ = alone
    _, _, _, descriptor, *others = check._child.arguments  # they name this process, which is not its own parent
    assert certificate_live.main([str(os.dup(int(descriptor))), *others]) == 0


def test_another_process_finds_a_margin_that_is_wrong(mixed, predicted, tmp_path):
    x, y = predicted
    check = LiveCheck(mixed, 50, tmp_path)
    wrong = y.copy()
    wrong[99, 3] = 0.25
    check.offer(x, 0, 500, wrong)
    deadline = time.monotonic() + 60
    while check._head[CHECKED] < 10 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert "1 of 10 rows of the sample differ" in check.news()
    check.offer(x, 0, 500, y)
    report = check.close()
    assert (report["rows"], report["checked"], report["mismatches"], report["let_go"]) == (1000, 20, 1, 0)
    assert "why" not in report
    assert check._ring.closed


def test_a_set_that_has_changed_is_not_asked(mixed, tmp_path, capsys):
    assert certificate_live.main(["0", str(mixed.path), "0" * 32, str(tmp_path / "x"), "1"]) == 1
    assert capsys.readouterr().out == "model set 'mixed' is not the one that serves: its folder has changed.\n"


def test_an_other_process_that_ended_says_why(mixed, tmp_path, monkeypatch):
    monkeypatch.setattr(Child, "returncode", 1)
    monkeypatch.setattr(Child, "says", "lightgbm is not installed and a model of this set needs it here. Install tickarrow[lightgbm].\n")
    monkeypatch.setattr(certificate_live.subprocess, "Popen", Child)
    check = LiveCheck(mixed, 10, tmp_path)
    why = "lightgbm is not installed and a model of this set needs it here. Install tickarrow[lightgbm]."
    assert check.news() == f"rows of model set 'mixed' are no longer compared with its libraries: {why}"
    assert check.news() is None
    assert check.close()["why"] == why


@pytest.mark.parametrize(("asked", "simulated", "every"), [(None, True, 0), (None, False, 1000), (5, True, 5), (0, False, 0)])
def test_a_session_with_a_real_gateway_is_compared_unless_it_is_told_otherwise(asked, simulated, every):
    assert certificate_live.check_every(ModelsConf(check_every=asked), simulated) == every


def test_a_negative_number_of_rows_is_refused():
    with pytest.raises(ConfigError) as e:
        certificate_live.check_every(ModelsConf(check_every=-3), False)
    assert str(e.value) == "models.check_every is -3: expected a number of rows, or 0 for no check."


class Engine:
    """Gives the margins of the libraries, with an error in one of them."""

    name = "engine"

    def __init__(self, model_set):
        self.model_set = model_set

    def predict(self, x, lo, hi, y):
        y[:] = certificate.oracle_margins(self.model_set, x[lo:hi])
        y[:, 3] += np.float32(0.5)


def test_what_a_set_predicts_is_compared_before_its_links(mixed, predicted, tmp_path):
    x, _ = predicted
    served = Served(mixed, Engine(mixed), None)
    checks = LiveChecks(100, tmp_path)
    checks.watch(served)
    y = np.empty((500, 4), np.float32)
    served.predict(x, 0, 500, y)
    np.testing.assert_allclose(y[:, 3], np.exp(certificate.oracle_margins(mixed, x)[:, 3] + np.float32(0.5)), rtol=1e-6)
    (report,) = checks.close()
    assert (report["rows"], report["checked"], report["mismatches"]) == (500, 5, 5)
    assert {tuple(json.loads(line)["models"]) for line in (tmp_path / "live-mismatches.jsonl").read_text().splitlines()} == {("b/h1",)}
    assert "5 of 5 rows of the sample differ" in checks.news()[0]
    assert LiveChecks(0, tmp_path).close() == []


def test_a_run_with_a_swap_compares_both_sets_and_says_so_in_its_manifest(tmp_path):
    market = ["universe.symbols=[AAA,BBB]", "source.max_rows=3000", *EAGER]
    conf = compose("run", market)
    sets = [noise_set(tmp_path / name, conf, seed) for name, seed in (("a", 10), ("b", 20))]
    swap = f"models.swaps=[{{at: '60', set: {sets[1].path}}}]"
    said, session = run(*market, f"model_set={sets[0].path}", swap, "models.check_every=5", cwd=tmp_path)
    live = json.loads((session / "manifest.json").read_text())["live_checks"]
    assert live == said["live_checks"]
    assert [r["model_set"] for r in live] == [s.digest for s in sets]
    for r in live:
        assert r["rows"] > 20
        assert r["offered"] == r["rows"] // 5 - r["let_go"]
        assert r["checked"] == r["offered"]
        assert (r["mismatches"], r["every"]) == (0, 5)
    assert not (session / "live-mismatches.jsonl").exists()
