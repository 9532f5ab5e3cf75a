"""Engines of our own kernels: which model goes to which, where few rows become many, what serves when one does not, and two threads."""

import os
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import naive_trees
import numpy as np
import pytest
from forests import grid, random_forest, rows
from library_models import of_lightgbm
from models_common import bits, booster, load, make_set

from tickarrow.configs.models import ModelsConf
from tickarrow.pipeline import predict_engines, predict_engines_forest
from tickarrow.pipeline.errors import ConfigError, ModelError
from tickarrow.pipeline.predict_engines import EngineWarning, open_engine, prepare_engines
from tickarrow.pipeline.predict_engines_forest import ForestEngine, lay_out

avx512 = pytest.mark.skipif(bool(predict_engines_forest.eligible("simd")), reason="the engine simd needs AVX-512 VBMI and GFNI")
ENGINES = [pytest.param("simd", marks=avx512), "portable"]


def built(name, forests, threads=1):
    plan, arrays = lay_out(name, forests, [f"m{i}" for i in range(len(forests))])
    return ForestEngine(name, plan, arrays, forests[0].n_features, len(forests), threads)


def predict(engine, x, lo=0, hi=None):
    hi = len(x) if hi is None else hi
    y = np.full((hi - lo, engine.n_models), np.nan, np.float32)
    engine.predict(x, lo, hi, y)
    return y


@pytest.fixture(scope="module")
def mixed():
    """Complete and leaf-wise trees, of both leaf widths, on one grid and on their own, averaged ones, and one with too many cuts and leaves."""
    rng = np.random.default_rng(2)
    cuts = grid(rng, cuts=100)
    forests = [random_forest(rng, shape="complete", depth=4 + i, n_trees=12, cuts=cuts) for i in range(3)]
    forests += [random_forest(rng, shape="leafwise", leaves=31 + 32 * i, n_trees=9, dtype=np.float64) for i in range(3)]
    forests += [random_forest(rng, shape="any", depth=6, n_trees=30, divisor=30), random_forest(rng, shape="leafwise", leaves=2_000, n_trees=2)]
    x = rows(rng, forests, 600)
    return forests, x, naive_trees.bank(forests, x)


@pytest.mark.parametrize("name", ENGINES)
def test_every_way_of_a_mixed_bank_gives_the_bits_of_its_definition(name, mixed):
    forests, x, want = mixed
    engine = built(name, forests)
    for way in engine.ways():
        y = np.full(want.shape, np.nan, np.float32)
        way(x, 0, len(x), y)
        np.testing.assert_array_equal(bits(y), bits(want))
    for lo, hi in ((0, 1), (3, 20), (100, 300), (0, len(x)), (7, 7)):
        np.testing.assert_array_equal(bits(predict(engine, x, lo, hi)), bits(want[lo:hi]))


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("width", [np.float32, np.float64])
def test_models_without_trees_and_trees_without_splits(name, width):
    rng = np.random.default_rng(1)
    tree = random_forest(rng, dtype=width)
    nothing = np.zeros(0, np.int64)
    empty = replace(tree, root=nothing, left=nothing, right=nothing, feature=nothing, cut=nothing.astype(np.float32), leaf=nothing.astype(width))
    lone = random_forest(rng, shape="leaf", n_trees=3, dtype=width)
    for forests in ([empty], [lone], [empty, lone, tree]):
        x = rows(rng, [tree], 150)
        for way in built(name, forests).ways():
            y = np.full((len(x), len(forests)), np.nan, np.float32)
            way(x, 0, len(x), y)
            np.testing.assert_array_equal(bits(y), bits(naive_trees.bank(forests, x)))


@avx512
def test_a_model_goes_to_the_fastest_kernel_that_takes_it(mixed):
    engine = built("simd", mixed[0])
    found = {}
    for few, _ in engine.plan["groups"]:
        for part in few:
            found.setdefault(engine.plan["kinds"][part], []).extend(engine.plan["models"][part])
    assert {kind: sorted(models) for kind, models in found.items()} == {"lines": [0, 1, 2, 6], "jump": [3, 4, 5], "walk": [7]}


@pytest.mark.parametrize("name", ENGINES)
def test_what_only_the_walk_takes_is_told_with_the_reasons(name, mixed):
    notes = built(name, mixed[0]).plan["notes"]
    assert all(note.startswith("model 'm7' is run by 'walk' (") for note in notes)
    assert notes[-1].endswith("exit{}: has 2000 leaves in a tree: 256 at most)".format("_any" if name == "portable" else ""))
    assert len(notes) == (2 if name == "simd" else 1)
    assert name == "portable" or "; jump: has a tree with " in notes[0]


def test_what_only_the_walk_takes_is_told_once_when_the_layout_is_made(tmp_path, capsys):
    chains = [booster(i, depth=0, n_trees=1, rows=2_000, max_leaves=300, grow_policy="lossguide", min_child_weight=0, max_bin=256) for i in range(4)]
    make = make_set(tmp_path / "large", chains)
    open_engine(make, ModelsConf(engine="portable"))
    said = capsys.readouterr().err
    assert said.startswith("engine portable: model 'xgb00/h0' is run by 'walk' (")
    assert said.endswith("), and 3 more like it\n")
    open_engine(load(tmp_path / "large"), ModelsConf(engine="portable"))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ENGINES)
def test_crossovers_are_measured_for_models_that_share_no_kernel(name, mixed):
    engine = built(name, mixed[0])
    models = [sorted({m for part in few for m in engine.plan["models"][part]}) for few, _ in engine.plan["groups"]]
    assert sorted(m for group in models for m in group) == list(range(8))
    for (few, many), crossover in zip(engine.plan["groups"], engine.crossovers):
        assert crossover == 0 if few == many else crossover >= 1
        assert sorted(m for part in many for m in engine.plan["models"][part]) == sorted({m for part in few for m in engine.plan["models"][part]})


def test_a_crossover_is_where_a_block_costs_as_much_as_its_rows():
    class Costs:
        def __init__(self, seconds):
            self.seconds = seconds

    def crossover(row, block, monkeypatch):
        monkeypatch.setattr(predict_engines_forest, "seconds", lambda parts, features, n, models: parts[0].seconds(n))
        return predict_engines_forest.crossover([Costs(lambda n: row * n)], [Costs(lambda n: block * -(-n // 128))], 3, 2)

    with pytest.MonkeyPatch.context() as monkeypatch:
        assert crossover(10.0, 220.0, monkeypatch) == 22
        assert crossover(10.0, 3.0, monkeypatch) == 1
        assert crossover(10.0, 640.0, monkeypatch) == 64
        assert crossover(10.0, 641.0, monkeypatch) == 65
        assert crossover(1.0, 1000.0, monkeypatch) == predict_engines_forest.ALWAYS


@pytest.mark.parametrize("name", ENGINES)
def test_threads_change_no_bit(name, mixed):
    forests, x, want = mixed
    engine = built(name, forests, threads=3)
    for lo, hi in ((0, len(x)), (5, 261), (5, 262), (0, 3)):
        np.testing.assert_array_equal(bits(predict(engine, x, lo, hi)), bits(want[lo:hi]))


def test_models_of_other_width_do_not_share_a_set():
    rng = np.random.default_rng(1)
    with pytest.raises(ModelError, match=r"^model 'b' has 7 features, 'a' 6: expected the same in one set.$"):
        lay_out("portable", [random_forest(rng), random_forest(rng, n_features=7)], ["a", "b"])


def test_a_model_that_fits_no_kernel_is_refused_with_all_reasons():
    forest = random_forest(np.random.default_rng(1), n_features=1_000_000, shape="complete", depth=9, n_trees=3)
    walk = "walk: has 512 leaves in a tree: 128 at most with 1000000 features"
    with pytest.raises(ModelError, match=rf"^model 'a' fits no kernel \(lock: is 9 levels deep: 8 at most; {walk}\).$"):
        lay_out("portable", [forest], ["a"])


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A set of two libraries."""
    found = make_set(tmp_path_factory.mktemp("sets") / "original", [booster(0), of_lightgbm(), booster(2, depth=6), of_lightgbm()])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_engine(found, ModelsConf(engine="auto"))
    return found


@pytest.fixture
def copied(original, tmp_path):
    shutil.copytree(original.path, tmp_path / "copied")
    return tmp_path / "copied"


def test_engines_are_prepared_without_a_word_and_then_only_loaded(tmp_path, capsys, monkeypatch):
    found = make_set(tmp_path / "new")
    prepare_engines(found)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(predict_engines_forest, "compile_engine", lambda *arguments: pytest.fail("laid out again"))
    monkeypatch.setattr("tickarrow.pipeline.certificate.certify", lambda *arguments: pytest.fail("whole check again"))
    assert open_engine(load(found.path), ModelsConf()).name in ("simd", "portable")


def test_auto_says_in_one_line_what_it_chose_and_why(copied, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine = open_engine(load(copied), ModelsConf(engine="auto"))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"engine {engine.name} serves 'copied': ")
    assert "portable " in line
    assert " us for one row, " in line
    assert line.endswith("treelite_c: not compiled")
    assert ("simd: this processor has no " in line) == bool(predict_engines_forest.eligible("simd"))


def test_auto_takes_the_fastest_and_the_first_if_there_is_little_between_them(copied, capsys, monkeypatch):
    monkeypatch.setattr(predict_engines_forest, "eligible", lambda name: "")
    monkeypatch.setattr(predict_engines, "open_alone", lambda model_set, conf, name: type("Fake", (), {"name": name})())
    monkeypatch.setattr(predict_engines, "_not_compiled", lambda model_set, name: "")
    cost = {"simd": 10e-6, "portable": 9e-6, "treelite_c": 2e-3}
    monkeypatch.setattr(predict_engines_forest, "seconds", lambda parts, features, n, models: n * cost[parts[0].name])
    assert open_engine(load(copied), ModelsConf(engine="auto")).name == "portable"  # 10 * 10 against 9 * 9 is more than a fifth
    assert capsys.readouterr().err == (
        "engine portable serves 'copied': simd 10.0 us for one row, 10.00 us a row for 100; portable 9.0 us for one row, 9.00 us a row for 100; "
        "treelite_c 2000.0 us for one row, 2000.00 us a row for 100\n"
    )
    cost["portable"] = 9.5e-6
    assert open_engine(load(copied), ModelsConf(engine="auto")).name == "simd"


def test_a_processor_without_avx512_gets_the_portable_engine(copied, monkeypatch, capsys):
    monkeypatch.setattr(predict_engines_forest._kernel, "cpu_has", lambda features: False)
    with pytest.warns(EngineWarning, match="^engine 'simd' is disabled for model set 'copied', 'portable' serves: this processor has no avx512f"):
        assert open_engine(load(copied), ModelsConf(engine="simd")).name == "portable"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_engine(load(copied), ModelsConf(engine="auto")).name == "portable"
    assert "simd: this processor has no avx512f" in capsys.readouterr().err


def test_auto_disables_what_fails_its_certificate(copied, monkeypatch):
    monkeypatch.setattr(predict_engines_forest, "eligible", lambda name: "" if name == "portable" else "not here")

    def wrong(self, x, lo, hi, y):
        y[: hi - lo] = 0.0

    monkeypatch.setattr("tickarrow.pipeline.forest_walk.Walk.predict", wrong)
    monkeypatch.setattr("tickarrow.pipeline.forest_lock.Lock.predict", wrong)
    with pytest.warns(EngineWarning) as told:
        assert open_engine(load(copied), ModelsConf(engine="auto", compiler="no-such-cc")).name == "xgboost"
    assert any("engine 'portable' is disabled for model set 'copied', the next serves: model 'xgb00/h0' gives" in str(w.message) for w in told)


def test_a_layout_of_another_set_is_refused_and_made_again(copied, tmp_path):
    other = make_set(tmp_path / "other")
    open_engine(other, ModelsConf(engine="portable"))
    shutil.copy(other.path / "portable.forest", copied / "portable.forest")
    with pytest.warns(EngineWarning, match=r"^model set 'copied': .*portable.forest was made from another model set .* It is made again from the models.$"):
        assert open_engine(load(copied), ModelsConf(engine="portable")).name == "portable"


@pytest.mark.parametrize("content", [b"", b"tickarrow forest\n", b"something else" * 100])
def test_a_foreign_layout_is_refused_and_made_again(copied, content):
    good = (copied / "portable.forest").read_bytes()
    (copied / "portable.forest").write_bytes(content)
    with pytest.warns(EngineWarning, match="It is made again from the models"):
        assert open_engine(load(copied), ModelsConf(engine="portable")).name == "portable"
    assert (copied / "portable.forest").read_bytes() == good


def test_settings_are_checked(copied):
    with pytest.raises(ConfigError, match=r"^models.threads is 0: expected 1 or more. Correct it in conf/models or on the command line.$"):
        open_engine(load(copied), ModelsConf(threads=0))


DIGESTS = """
import hashlib, sys, warnings
import numpy as np
sys.path[:0] = {path!r}
from models_common import COLUMNS, DIGEST
from tickarrow.configs.models import ModelsConf
from tickarrow.jit import _kernel
from tickarrow.pipeline import certificate
from tickarrow.pipeline.models import load_set
from tickarrow.pipeline.predict_engines import open_engine
_kernel.warm()
found = load_set({folder!r}, COLUMNS, DIGEST)
rows = certificate.probe_rows(found.forests, seed=5)
for name in ("xgboost", "portable", "simd"):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        engine = open_engine(found, ModelsConf(engine=name))
    for way in engine.ways():
        y = np.full((len(rows), found.n_models), np.nan, np.float32)
        way(rows, 0, len(rows), y)
        print(engine.name, hashlib.blake2b(y.tobytes(), digest_size=16).hexdigest())
"""


def digests(folder, **environment):
    script = DIGESTS.format(path=[str(Path(__file__).parent)], folder=str(folder))
    env = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_CPU")} | environment
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env, timeout=900)
    assert done.returncode == 0, done.stderr[-4000:]
    return [line.split() for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_engines_agree_whatever_processor_they_are_compiled_for(original, tmp_path):
    haswell = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma,+bmi,+bmi2,+popcnt,+lzcnt,+sse4.2"}
    seen = {}
    for name, environment in (("native", {}), ("haswell", haswell)):
        shutil.copytree(original.path, tmp_path / name)
        seen[name] = digests(tmp_path / name, **environment)
    assert len({digest for lines in seen.values() for _, digest in lines}) == 1
    assert [name for name, _ in seen["haswell"]] == ["xgboost"] + ["portable"] * 6  # simd gives way
