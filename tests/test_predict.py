"""Engines: bits of xgboost, certificates and what disables them, the stage, and the whole bank of 80."""

import json
import shutil
import warnings

import numba
import numpy as np
import pyarrow as pa
import pytest
from models_common import COLUMNS, DIGEST, bits, booster, load, make_set

from tickarrow.configs.models import ModelsConf
from tickarrow.configs.training import ConfigurationConf, TrainingConf
from tickarrow.pipeline import certificate, forest_file, training, training_data
from tickarrow.pipeline.batch import Batch, Table
from tickarrow.pipeline.errors import ConfigError
from tickarrow.pipeline.predict import Predict, Served
from tickarrow.pipeline.predict_engines import EngineWarning, open_engine
from tickarrow.pipeline.schemas import features_schema, predictions_schema

PORTABLE = ModelsConf(engine="portable")
NO_COMPILER = ModelsConf(engine="portable", compiler="no-such-cc")
needs_jit = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="a call by address exists in compiled code only")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A set with its certificate of the portable engine."""
    found = make_set(tmp_path_factory.mktemp("sets") / "original")
    assert quietly(found).name == "portable"
    return found


@pytest.fixture
def copied(original, tmp_path):
    shutil.copytree(original.path, tmp_path / "copied")
    return tmp_path / "copied"


def quietly(model_set, conf=PORTABLE):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return open_engine(model_set, conf)


def margins(model_set, rows):
    return np.stack([m.booster.inplace_predict(rows, predict_type="margin") for m in model_set.models], 1)


def run(engine, rows, n_models):
    y = np.full((len(rows), n_models), np.nan, np.float32)
    engine.predict(rows, 0, len(rows), y)
    return y


def manifest(path):
    return json.loads((path / "manifest.json").read_text())


def write_manifest(path, content):
    (path / "manifest.json").write_text(json.dumps(content))


@pytest.mark.parametrize("name", ["portable", "xgboost", pytest.param("treelite_c", marks=needs_jit)])
def test_every_engine_gives_the_bits_of_xgboost(original, name):
    if name == "treelite_c" and shutil.which("cc") is None:
        pytest.skip("no C compiler")
    engine = quietly(original, ModelsConf(engine=name))
    assert engine.name == name
    rows = certificate.probe_rows(original.forests, seed=11)
    np.testing.assert_array_equal(bits(run(engine, rows, 4)), bits(margins(original, rows)))
    y = np.full((3, 4), np.nan, np.float32)
    engine.predict(rows, 5, 7, y)  # rows 5 and 6 go to rows 0 and 1
    np.testing.assert_array_equal(bits(y[:2]), bits(margins(original, rows)[5:7]))
    assert np.isnan(y[2]).all()
    engine.predict(rows, 5, 5, y)
    assert np.isnan(y[2]).all()


def test_a_certificate_names_what_was_compared(original):
    stored = manifest(original.path)["certificates"]["portable"]
    assert stored["model_set"] == original.digest
    assert stored["models"] == 4
    assert stored["rows"] == len(certificate.probe_rows(original.forests))
    assert stored["digest"] == forest_file.file_digest(original.path / "portable.forest")


def test_loading_needs_neither_the_models_nor_xgboost(copied, monkeypatch):
    found = load(copied)
    monkeypatch.setattr("tickarrow.pipeline.library.load", lambda path: pytest.fail("a model was loaded"))
    assert quietly(found).name == "portable"


def test_a_damaged_layout_is_refused_and_made_again(copied):
    path = copied / "portable.forest"
    content = bytearray(path.read_bytes())
    good = bytes(content)
    content[-100] ^= 1
    path.write_bytes(content)
    found = load(copied)
    with pytest.warns(EngineWarning) as told:
        engine = open_engine(found, PORTABLE)
    assert engine.name == "portable"
    assert [str(w.message) for w in told] == [
        f"model set 'copied': {path} is damaged: its content is not what was written. It is made again from the models."
    ]
    rows = certificate.probe_rows(found.forests)
    np.testing.assert_array_equal(bits(run(engine, rows, 4)), bits(margins(found, rows)))
    assert path.read_bytes() == good
    assert quietly(load(copied)).name == "portable"


def wrong_by_one_bit(path):
    """The layout with one bit of the base of one model changed, written as its own program would write it."""
    code = certificate.code_digest()
    made, parts = forest_file.read(path, code, {})
    base = parts[0]["base"].copy()
    at = int(np.flatnonzero(parts[0]["models"][:, 0] == 2)[0])
    base[at] = np.nextafter(base[at], np.float32(np.inf))
    forest_file.write(path, code, made, [parts[0] | {"base": base}, *parts[1:]])


def test_a_wrong_layout_with_a_right_digest_fails_the_sample(copied):
    path = copied / "portable.forest"
    wrong_by_one_bit(path)
    content = manifest(copied)
    content["certificates"]["portable"]["digest"] = forest_file.file_digest(path)
    write_manifest(copied, content)
    with pytest.warns(EngineWarning, match=r"model 'xgb01/h0' gives .* where xgboost gives .* \(1 of 4 models differ on 64 probe rows\)"):
        assert open_engine(load(copied), NO_COMPILER).name == "xgboost"


def test_a_whole_layout_that_was_never_compared_gets_the_whole_check(copied):
    wrong_by_one_bit(copied / "portable.forest")
    rows = manifest(copied)["certificates"]["portable"]["rows"]
    with pytest.warns(EngineWarning, match=rf"\(1 of 4 models differ on {rows} probe rows\)"):
        assert open_engine(load(copied), NO_COMPILER).name == "xgboost"


def test_a_kernel_that_is_wrong_is_found_when_the_set_is_compiled(copied, monkeypatch):
    (copied / "portable.forest").unlink()

    def wrong(self, x, lo, hi, y):
        y[: hi - lo] = 0.0

    monkeypatch.setattr("tickarrow.pipeline.forest_lock.Lock.predict", wrong)
    with pytest.warns(EngineWarning, match="4 of 4 models differ"):
        assert open_engine(load(copied), NO_COMPILER).name == "xgboost"


@pytest.mark.parametrize("changed", ["code", "cpu", "compiler", "libraries", "probes"])
def test_other_code_or_another_library_asks_for_the_whole_check_again(copied, changed, monkeypatch):
    content = manifest(copied)
    content["certificates"]["portable"][changed] = {"xgboost": "another"} if changed == "libraries" else "another"
    write_manifest(copied, content)
    checked = []
    compare = certificate.mismatches
    monkeypatch.setattr(certificate, "mismatches", lambda s, e, rows, m: (checked.append(len(rows)), compare(s, e, rows, m))[1])
    assert quietly(load(copied)).name == "portable"
    assert checked == [content["certificates"]["portable"]["rows"]]
    assert manifest(copied)["certificates"]["portable"][changed] != content["certificates"]["portable"][changed]
    assert quietly(load(copied)).name == "portable"
    assert checked[1:] == [PORTABLE.sample_rows]


def test_deep_models_are_served_too(tmp_path):
    found = make_set(tmp_path / "deep", [booster(i, depth=10, rows=3000, min_child_weight=0, max_bin=256) for i in range(4)])
    engine = quietly(found)
    rows = certificate.probe_rows(found.forests, seed=2)
    np.testing.assert_array_equal(bits(run(engine, rows, 4)), bits(margins(found, rows)))


def test_a_set_that_cannot_be_written_is_checked_and_served(copied, monkeypatch):
    (copied / "portable.forest").unlink()

    def refuse(path, code, made_from, parts):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(forest_file, "write", refuse)
    found = load(copied)
    engine = quietly(found)
    assert engine.name == "portable"
    rows = certificate.probe_rows(found.forests, seed=2)
    np.testing.assert_array_equal(bits(run(engine, rows, 4)), bits(margins(found, rows)))


def test_no_compiler_disables_treelite_c_with_a_sentence(copied):
    with pytest.warns(EngineWarning) as told:
        engine = open_engine(load(copied), ModelsConf(engine="treelite_c", compiler="no-such-cc"))
    assert engine.name == "portable"
    assert str(told[0].message) == (
        "engine 'treelite_c' is disabled for model set 'copied', 'portable' serves: no C compiler: 'no-such-cc' is not on the PATH. "
        "Install gcc or clang, or name one (models.compiler=NAME)."
    )


@needs_jit
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_treelite_c_compiles_only_models_that_are_new(tmp_path, monkeypatch):
    monkeypatch.setenv("TICKARROW_CACHE", str(tmp_path / "cache"))
    objects = tmp_path / "cache" / "engines" / "objects"
    conf = ModelsConf(engine="treelite_c")
    boosters = [booster(i, depth=2, n_trees=2) for i in range(4)]
    first = make_set(tmp_path / "first", boosters)
    assert quietly(first, conf).name == "treelite_c"
    made = {p: p.stat().st_mtime_ns for p in objects.iterdir()}
    assert len(made) == 4
    second = make_set(tmp_path / "second", [*boosters[:3], booster(9, depth=2, n_trees=2)])
    assert quietly(second, conf).name == "treelite_c"
    assert {p: p.stat().st_mtime_ns for p in objects.iterdir() if p in made} == made
    assert len(list(objects.iterdir())) == 5
    monkeypatch.setattr("tickarrow.pipeline.compiler_native.generate", lambda b: pytest.fail("compiled again"))
    assert quietly(load(first.path), conf).name == "treelite_c"


@needs_jit
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_a_damaged_library_disables_treelite_c(tmp_path, monkeypatch):
    monkeypatch.setenv("TICKARROW_CACHE", str(tmp_path / "cache"))
    conf = ModelsConf(engine="treelite_c")
    found = make_set(tmp_path / "set")
    assert quietly(found, conf).name == "treelite_c"
    library = next((tmp_path / "cache" / "engines").glob("*.so"))
    content = library.read_bytes()
    library.unlink()  # the loaded one stays what it is
    library.write_bytes(content + b"\0")
    with pytest.warns(EngineWarning, match="'portable' serves: .* is not the file that passed the parity check"):
        assert open_engine(load(tmp_path / "set"), conf).name == "portable"


def test_an_unknown_engine_is_a_configuration_error(original):
    with pytest.raises(ConfigError) as e:
        open_engine(original, ModelsConf(engine="fast"))
    assert str(e.value) == "models.engine is 'fast': expected one of auto, portable, simd, treelite_c, xgboost."
    with pytest.raises(ConfigError, match=r"^models.sample_rows is 0: expected 1 or more. Correct it in conf/models or on the command line.$"):
        open_engine(original, ModelsConf(sample_rows=0))


def features(n, seed=1):
    table = Table(features_schema(COLUMNS, DIGEST), capacity=256)
    rng = np.random.default_rng(seed)
    columns = table.segment.columns
    columns["seq"][:n], columns["ts"][:n], columns["symbol"][:n] = np.arange(n) * 3, np.arange(n) * 1000, rng.integers(0, 5, n)
    columns["x"][:n] = rng.normal(size=(n, 6))
    return table.commit(n)


@pytest.mark.parametrize("cut", [1, 7, 100])
def test_the_stage_predicts_the_same_rows_however_they_are_cut(original, cut):
    batch = features(100)
    stage = Predict(Served(original, quietly(original), Table(predictions_schema(4, original.digest), keep=True, capacity=64)), 5)
    for lo in range(0, 100, cut):
        for part in range(lo, min(lo + cut, 100), 64):  # a batch of more rows than a segment holds does not exist
            piece = Batch(batch.segment, part, min(part + 64, lo + cut, 100))
            out = stage.step(piece)
            assert len(out) == len(piece)
    table = stage._out
    for name in ("seq", "ts", "symbol"):
        np.testing.assert_array_equal(table.column(name), batch.view(name))
    np.testing.assert_array_equal(bits(table.column("y")), bits(margins(original, batch.view("x").copy())))
    assert stage.step(Batch(batch.segment, 5, 5)).lo == table.size
    assert table.rows == 100
    assert stage.snapshot()["route"].tolist() == [0] * 5
    assert len(stage.flush()) == 0


def test_predictions_are_one_arrow_column_over_the_same_memory(original):
    stage = Predict(Served(original, quietly(original), Table(predictions_schema(4, original.digest))), 5)
    out = stage.step(features(10))
    column = out.arrow().column("y")
    assert column.type == pa.list_(pa.field("item", pa.float32(), nullable=False), 4)
    assert column.values.buffers()[1].address == out.y.ctypes.data


def test_all_eighty_models_are_bit_equal_on_every_probe_row(tmp_path):
    """The portable engine on a bank of 16 configurations at 5 horizons, as `done when` 4 of the session issue asks."""
    rng = np.random.default_rng(8)
    n, n_features = 3_000, 41
    x = rng.normal(size=(n, n_features)).astype(np.float32)
    x[:, 3] = np.round(x[:, 3] * 2)
    y = (np.tanh(x[:, :5]) * 3 + np.abs(x[:, 5:10]) + rng.normal(size=(n, 5))).astype(np.float32)
    x[rng.random(x.shape) < 0.03] = np.nan
    objectives = ("squarederror", "pseudohubererror", "absoluteerror")
    configurations = [
        ConfigurationConf(
            depth=3 + i % 4, eta=0.05 + 0.02 * (i % 5), subsample=0.6 + 0.1 * (i % 4), colsample=0.5 + 0.1 * (i % 5), min_child_weight=2.0,
            objective=objectives[i % 3 if i % 4 else 0], families=[] if i % 5 else ["flow"], seed=i,
        )
        for i in range(16)
    ]  # fmt: skip
    conf = TrainingConf(trees=100, nthread=1, max_rows=n, configurations=configurations)
    columns, families = [f"c{i}" for i in range(n_features)], ["quote"] * 20 + ["flow"] * 21
    ts = np.arange(n, dtype=np.int64) * 10**9
    found = training.train(conf, training_data.rows_of(conf, x, y, ts), columns, families, DIGEST, tmp_path / "bank")
    assert found.n_models == 80
    engine = quietly(found)
    assert engine.name == "portable"
    for seed in (0, 1):
        rows = certificate.probe_rows(found.forests, seed)
        np.testing.assert_array_equal(bits(run(engine, rows, 80)), bits(margins(found, rows)))
