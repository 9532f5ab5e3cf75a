"""tickarrow verify through its command line: what the table and the JSON file say, what is an error."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from library_models import data, of_lightgbm, of_sklearn, of_xgboost
from models_common import COLUMNS, DIGEST, HORIZONS

from tickarrow.configs.verify import VerifyConf
from tickarrow.jit._kernel import cpu_has
from tickarrow.pipeline import cli, models, verify
from tickarrow.pipeline.errors import ConfigError, DataError
from tickarrow.pipeline.models import read_set
from tickarrow.pipeline.predict_engines_forest import ForestEngine


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    path = tmp_path_factory.mktemp("sets") / "mixed"
    models.save_set(
        path, [of_xgboost("binary:logistic"), of_lightgbm(), of_sklearn("GradientBoostingRegressor"), of_xgboost("lossguide")],
        configurations=["a", "b"], horizons_ns=HORIZONS, columns=COLUMNS, feature_digest=DIGEST, ic=np.zeros((2, 2)),
    )  # fmt: skip
    return path


@pytest.fixture
def mixed(original, tmp_path, monkeypatch):
    shutil.copytree(original, tmp_path / "mixed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    return tmp_path / "mixed"


def command(*arguments):
    with pytest.raises(SystemExit) as e:
        cli.main(["verify", *arguments])
    return e.value.code


def test_every_engine_is_compared_and_named(mixed, capsys):
    assert command(f"model_set={mixed}") == 0
    said = capsys.readouterr().out
    assert "model set mixed, 4 models" in said
    assert "equal, bit for bit" in said
    content = json.loads((mixed / "certificates.json").read_text())
    assert content["digest"] == read_set(mixed).digest
    assert list(content["models"]) == ["a/h0", "a/h1", "b/h0", "b/h1"]
    assert list(content["engines"]) == ["portable", "simd"]
    portable = content["engines"]["portable"]
    assert (portable["why"], portable["mismatches"], portable["models"], portable["file"]) == ("", {}, 4, "portable.forest")
    assert portable["rows"] > 500
    assert 0 < portable["left_out"] < portable["rows"]
    assert portable["cpu"] in said
    if not cpu_has("avx512f avx512bw avx512vbmi"):
        assert "simd      does not serve: this processor has no" in said


def test_recorded_rows_are_compared_too(mixed, capsys):
    x, _ = data()
    pq.write_table(pa.table({c: x[:, i] for i, c in enumerate(COLUMNS)}), "rows.parquet")
    assert command(f"model_set={mixed}", "engine=portable", "rows=rows.parquet", "out=all.json") == 0
    assert json.loads(Path("all.json").read_text())["engines"]["portable"]["recorded_rows"] == len(x)


def test_recorded_rows_are_found_by_name_or_as_lists(tmp_path):
    x, _ = data()
    pq.write_table(pa.table({c: x[:, i] for i, c in reversed(list(enumerate(COLUMNS)))} | {"other": x[:, 0]}), tmp_path / "a.parquet")
    lists = pa.FixedSizeListArray.from_arrays(pa.array(x.reshape(-1)), 6)
    table = pa.table({"seq": np.arange(len(x)), "x": lists})
    with pa.OSFile(str(tmp_path / "b.arrow"), "wb") as f, pa.ipc.new_file(f, table.schema) as writer:
        writer.write_table(table)
    for name in ("a.parquet", "b.arrow"):
        np.testing.assert_array_equal(verify.recorded_rows(tmp_path / name, COLUMNS), x)
    for columns, text in (([*COLUMNS[:5], "age_30s"], "has no column 'age_30s' (1 of the 6 columns of the set are missing)"),):
        with pytest.raises(DataError) as e:
            verify.recorded_rows(tmp_path / "a.parquet", columns)
        assert text in str(e.value)
    with pytest.raises(DataError, match=r"column x has type fixed_size_list<.*>\[6\], expected lists of 5, the columns of the set"):
        verify.recorded_rows(tmp_path / "b.arrow", COLUMNS[:5])
    (tmp_path / "c.parquet").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"c\.parquet cannot be read as rows of features: .* Give a Parquet or Arrow IPC file\."):
        verify.recorded_rows(tmp_path / "c.parquet", COLUMNS)


def test_an_engine_that_differs_is_an_error_with_its_models(mixed, capsys, monkeypatch):
    right = ForestEngine.predict

    def wrong(self, x, lo, hi, y):
        right(self, x, lo, hi, y)
        y[: hi - lo, 1] = np.nextafter(y[: hi - lo, 1], np.float32(np.inf))

    monkeypatch.setattr(ForestEngine, "ways", lambda self: [lambda *arguments: wrong(self, *arguments)])
    assert command(f"model_set={mixed}", "engine=portable") == 1
    said = capsys.readouterr()
    assert said.err.splitlines()[-1] == "tickarrow: verify: engine 'portable' differs from the library in 1 of 4 models: a/h1."
    assert "differs in 1 models" in said.out
    outcome = json.loads((mixed / "certificates.json").read_text())["engines"]["portable"]
    assert outcome["mismatches"] == {"a/h1": outcome["rows"]}


def test_a_stored_certificate_does_not_stand_for_the_check(mixed, monkeypatch):
    assert command(f"model_set={mixed}", "engine=portable") == 0
    asked = []
    whole = verify.certificate.mismatches
    monkeypatch.setattr(verify.certificate, "mismatches", lambda s, e, rows, m: (asked.append(len(rows)), whole(s, e, rows, m))[1])
    assert command(f"model_set={mixed}", "engine=portable") == 0
    assert asked == [read_set(mixed).manifest["certificates"]["portable"]["rows"]]


def test_a_set_is_found_by_its_name_in_a_registry(mixed, capsys):
    assert command("model_set=mixed", f"models.registry={mixed.parent}", "engine=portable") == 0
    assert command("model_set=other", f"models.registry={mixed.parent}") == 1
    assert f"model set 'other' is neither a folder with a manifest.json nor a set in {mixed.parent} (there: mixed)" in capsys.readouterr().err


def test_an_engine_that_does_not_serve_is_an_error_only_if_it_was_asked_for(mixed, capsys):
    assert command(f"model_set={mixed}", "engine=treelite_c", "models.compiler=no-such-cc") == 1
    text = "no C compiler: 'no-such-cc' is not on the PATH. Install gcc or clang, or name one (models.compiler=NAME)."
    assert capsys.readouterr().err.splitlines()[-1] == f"tickarrow: verify: engine 'treelite_c' does not serve: {text}"


def test_an_unknown_engine_and_a_damaged_set_are_named(mixed, capsys):
    with pytest.raises(ConfigError) as e:
        verify.main(VerifyConf(model_set=str(mixed), engine="xgboost"))
    assert str(e.value) == "engine is 'xgboost': expected one of portable, simd, treelite_c."
    (mixed / "models" / "b_h0.joblib").unlink()
    assert command(f"model_set={mixed}") == 1
    assert capsys.readouterr().err == "tickarrow: model set 'mixed' is damaged: models/b_h0.joblib is missing. Restore the folder or train it again.\n"
