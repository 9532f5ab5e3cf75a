"""A user's own file of features: what it gives, what belongs to its digest, and each mistake as one sentence."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

from tickarrow.configs.features import FamilyConf, FeaturesConf
from tickarrow.jit import _kernel
from tickarrow.jit.event import EVENT
from tickarrow.jit.feature import Family
from tickarrow.pipeline import features_registry, features_user
from tickarrow.pipeline.errors import ConfigError, near
from tickarrow.pipeline.features_registry import feature_columns, feature_digest

FILE = Path(__file__).with_name("user_features.py")
TEXT = FILE.read_text()
jit_only = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="the JIT is off")


@pytest.fixture(autouse=True)
def nothing_loaded(monkeypatch):
    monkeypatch.setattr(features_user, "_files", {})


def write(folder, text, name="mine.py"):
    path = folder / name
    path.write_text(text)
    return path


def changed(old, new):
    assert TEXT.count(old) == 1, old
    return TEXT.replace(old, new)


@pytest.mark.pure
def test_a_file_gives_its_families_and_is_a_module():
    count, spread = features_user.load(FILE)
    assert (count.name, count.version) == ("count", 3)
    assert [c.name for c in features_user.all_columns(count)] == ["my_quotes", "last_bid"]
    assert sys.modules["tickarrow_user_user_features"].FAMILY is count
    assert features_user.load(str(FILE))[0] is count  # run once
    (column,) = spread.columns(())
    assert column[:4] == ("my_spread", "bp", "1e4 (a - b) / m", "Harris (2003)")


@pytest.mark.pure
def test_the_kernels_of_a_decorated_function_write_its_column():
    _, spread = features_user.load(FILE)
    s, e, v = np.zeros(1, spread.state)[0], np.zeros(1, EVENT)[0], np.full(3, 7.0)
    e.bid, e.ask, e.mid = 99.0, 101.0, 100.0
    spread.step(s, e, np.arange(1))
    spread.emit(s, e, np.arange(1), v, 1)
    assert v.tolist() == [7.0, 200.0, 7.0]  # 1e4 * 2 / 100


def test_a_path_is_relative_to_the_working_directory(tmp_path, monkeypatch):
    write(tmp_path, TEXT)
    monkeypatch.chdir(tmp_path)
    assert features_user.load("mine.py") is features_user.load(tmp_path / "mine.py")


def digest(folder, text, name="mine.py"):
    """Content digest of a file's families, in a process of its own."""
    path = write(folder, text, name)
    code = "import sys; from tickarrow.pipeline import features_user as u; f = u.load(sys.argv[1]); print(u.content(f[0]), u.content(f[1]))"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True, env=os.environ, cwd=folder)
    first, second = done.stdout.split()
    assert first == second
    assert len(first) == 32
    return first


@jit_only
def test_the_digest_covers_the_bytes_and_what_the_kernels_take_in(tmp_path):
    read = changed("np.array([1e4, 2.0])", "np.loadtxt('scale.txt')")
    (tmp_path / "scale.txt").write_text("1e4 2")
    first = digest(tmp_path, read)
    assert digest(tmp_path, read) == first
    (tmp_path / "scale.txt").write_text("1e3 2")
    assert digest(tmp_path, read) != first
    (tmp_path / "scale.txt").write_text("1e4 2")
    assert digest(tmp_path, read + "# no kernel differs\n") != first


def test_the_feature_digest_takes_the_content_of_the_file(monkeypatch):
    monkeypatch.setattr(features_registry, "_families", dict(features_registry._families))
    conf = FeaturesConf([FamilyConf("quote"), FamilyConf("count")], files=[str(FILE)])
    first = feature_digest(conf)
    assert feature_columns(conf)[-2:] == ["my_quotes", "last_bid"]
    monkeypatch.setattr(features_user, "content", lambda family: "another" if family.name == "count" else "")
    assert feature_digest(conf) != first
    built_in = FeaturesConf([FamilyConf("quote")])
    assert feature_digest(built_in) == feature_digest(FeaturesConf([FamilyConf("quote")], files=[str(FILE)]))


def test_a_built_in_family_has_no_file():
    assert features_user.content(Family("mine", 1)) == ""


@jit_only
def test_a_constant_that_is_read_from_a_file_is_not_taken_from_the_cache(tmp_path):
    write(tmp_path, changed("np.array([1e4, 2.0])", "np.loadtxt('scale.txt')"))
    code = """
import numpy as np
from tickarrow.jit.event import EVENT
from tickarrow.pipeline import features_user
spread = features_user.load("mine.py")[1]
e, v = np.zeros(1, EVENT)[0], np.zeros(1)
e.bid, e.ask, e.mid = 99.0, 101.0, 100.0
spread.emit(np.zeros(1, spread.state)[0], e, np.arange(1), v, 0)
print(v[0])
"""

    def spread(scale):
        (tmp_path / "scale.txt").write_text(scale)
        return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ, cwd=tmp_path).stdout)

    assert spread("1e4 0") == 200.0
    assert spread("1e4 0") == 200.0
    assert spread("1e3 0") == 20.0


STATE_LINE = '@kernel("COUNT_STATE, EVENT, i8[:]")\n'
EMIT_LINE = '@kernel("COUNT_STATE, EVENT, i8[:], out f8[:], i8")\n'
WRONG = {
    "syntax": (changed("v[at + 1] = e.bid", "v[at + 1] = = e.bid"), "mine.py, line 23: invalid syntax."),
    "raises": (changed("SCALE = np.array([1e4, 2.0])", "SCALE = 1 / 0"), "features.files: mine.py, line 10: ZeroDivisionError: division by zero."),
    "exits": ("raise SystemExit(3)", "features.files: mine.py, line 1: SystemExit: 3."),
    "import": ("import nonesuch", "features.files: mine.py, line 1: ModuleNotFoundError: No module named 'nonesuch'."),
    "empty": ("x = 1\n", "mine.py declares no feature family. End it with FAMILY = Family(...) of tickarrow.jit.feature."),
    "misspelt": (
        changed("@feature(unit=\"bp\", formula=\"1e4 (a - b) / m\", reference=\"Harris (2003)\")\n", "").replace("FAMILY =", "FAMLY ="),
        "mine.py declares no feature family. FAMLY is one: name it FAMILY, or list it in FAMILIES.",
    ),
    "other": (changed("FAMILY = Family(", "FAMILY = dict("), "features.files: mine.py, line 31: TypeError: "),
    "no family": ("FAMILY = 3\n", "mine.py declares 3, which is no Family of tickarrow.jit.feature."),
    "no list": ("FAMILIES = 3\n", "FAMILIES of mine.py is int, not a list of Family objects of tickarrow.jit.feature."),
    "twice": (changed('Column("last_bid", "currency", "b")', 'Column("my_spread", "currency", "b")'), "column 'my_spread' stands twice in mine.py."),
    "name": (changed('"count",', '"my count",'), "a family of mine.py is called 'my count'. Take letters, digits and _."),
    "no unit": (changed('"currency", "b")', '"", "b")'), "column 'last_bid' needs a name of letters, digits and _, a unit ('1' = a pure number) and"),
    "feed": (changed('"currency", "b")', '"currency", "b", feed="dept")'), "feed of column 'last_bid' is 'dept'. Did you mean depth?"),
    "no column": (changed("lambda tau_s: [Column", "lambda tau_s: [] and [Column"), "family 'count' (mine.py) has no column."),
    "no emit": (changed("    emit=count_emit,\n", ""), "family 'count' (mine.py): emit writes `columns`, and only one of the two is given."),
    "no state": (changed("    state=COUNT_STATE,\n", ""), "family 'count' (mine.py) has kernels of the tick clock and no state. Give state=record([...])."),
    "windows": (changed("lambda tau_s: [Column", "lambda tau_s: tau_s[3] and [Column"), "columns of family 'count' (mine.py) fails for its windows []: "),
    "unwritten": (changed("    v[at + 1] = e.bid\n", ""), "emit of family 'count' (mine.py) does not write column 'last_bid' at a first tick."),
    "beyond": (changed("v[at + 1] = e.bid", "v[at + 1] = v[at + 2] = e.bid"), "emit of family 'count' (mine.py) writes outside of v[at] to v[at + 1]: "),
    "arguments": (
        changed("def count_step(s, e, w):", "def count_step(s, e):").replace(STATE_LINE, '@kernel("COUNT_STATE, EVENT")\n'),
        "step of family 'count' (mine.py), line 14, takes 2 arguments; expected @kernel(\"STATE, EVENT, i8[:]\") def ...(s, e, w).",
    ),
    "two ticks": (changed("def my_spread(e):", "def my_spread(e, f):"), "my_spread takes 2 arguments; a feature takes one, the tick: def my_spread(e)."),
}  # fmt: skip
WRONG_COMPILED = {
    "no kernel": (changed(STATE_LINE, ""), "step of family 'count' (mine.py) is no kernel; expected @kernel(\"STATE, EVENT, i8[:]\") def ...(s, e, w)"),
    "read-only": (
        changed(EMIT_LINE, EMIT_LINE.replace("out ", "")),
        "emit of family 'count' (mine.py), line 20: argument 'v' is declared as 'f8[:]'; expected @kernel(\"STATE, EVENT, i8[:], out f8[:], i8\") def ...(s, e",
    ),
    "record": (
        changed(EMIT_LINE, EMIT_LINE.replace("COUNT_STATE, EVENT", "EVENT, EVENT")),
        "emit of family 'count' (mine.py), line 20: argument 's' is declared as 'EVENT'; expected",
    ),
    "type": (changed(STATE_LINE, STATE_LINE.replace("EVENT", "EVNT")), "line 14: TypeError: kernel signature: 'EVNT' in 'EVNT' is neither one of"),
    "field": (changed("v[at + 1] = e.bid", "v[at + 1] = e.bidd"), "emit of family 'count' (mine.py) does not compile: line 23: no field 'bidd'. Did you mean"),
    "unknown name": (changed("v[at + 1] = e.bid", "v[at + 1] = nonesuch"), "does not compile: line 23: NameError: name 'nonesuch' is not defined."),
    "allocates": (changed("v[at + 1] = e.bid", "v[at + 1] = np.zeros(int(e.bid))[0]"), "emit of family 'count' (mine.py) does not compile: line "),
}


@pytest.mark.parametrize(("text", "said"), [*WRONG.values(), *(pytest.param(*v, marks=jit_only) for v in WRONG_COMPILED.values())],
                         ids=[*WRONG, *WRONG_COMPILED])  # fmt: skip
def test_a_mistake_is_one_sentence_and_leaves_nothing_behind(text, said, tmp_path):
    before = (len(_kernel._registry), set(_kernel._user_files), "tickarrow_user_mine" in sys.modules)
    with pytest.raises(ConfigError) as e:
        features_user.load(write(tmp_path, text))
    assert said in str(e.value)
    assert "\n" not in str(e.value)
    assert str(e.value).endswith((".", "?"))
    assert (len(_kernel._registry), set(_kernel._user_files), "tickarrow_user_mine" in sys.modules) == before


def test_a_missing_file_names_its_siblings(tmp_path, monkeypatch):
    write(tmp_path, TEXT, "my_features.py")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=rf"there is no file my_feature\.py\. Did you mean my_features\.py\? The path is relative to {tmp_path}"):
        features_user.load("my_feature.py")


def test_two_files_of_one_name_are_refused(tmp_path):
    features_user.load(FILE)
    other = write(tmp_path, TEXT, FILE.name)
    with pytest.raises(ConfigError, match=r"have one name\. Rename one"):
        features_user.load(other)


def test_a_file_may_import_one_beside_it(tmp_path):
    write(tmp_path, "UNIT = 'bp'\n", "beside_mine.py")
    path = write(tmp_path, changed("import numpy as np\n", "import numpy as np\nfrom beside_mine import UNIT\n").replace('unit="bp"', "unit=UNIT"))
    assert features_user.load(path)[1].columns(())[0].unit == "bp"
    assert str(tmp_path) not in sys.path


def test_the_guides_example_is_two_families(tmp_path):
    guide = (Path(__file__).resolve().parents[1] / "docs" / "guide.md").read_text()
    (text,) = re.findall(r"```\n(# my_features\.py\n.*?)```", guide, re.S)
    flow, spread = features_user.load(write(tmp_path, text, "my_features.py"))
    assert [c.name for c in features_user.all_columns(flow)] == ["my_flow_30s"]
    assert spread.name == "my_spread"


def test_near_names_are_suggested():
    known = ["rsi_14", "rv_30s", "rv_300s", "spread_bp"]
    assert near("rsi14", known) == "Did you mean rsi_14?"
    assert near("rv_31s", known).startswith("Did you mean rv_30s")
    assert near("zzz", known) == "There is rsi_14, rv_30s, rv_300s, spread_bp."
