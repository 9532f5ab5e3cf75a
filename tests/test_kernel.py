"""The kernel decorator: declared signatures, one cache folder per code, no compilation after `warm`."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

from tickarrow.jit import _kernel
from tickarrow.jit._kernel import kernel, record, ufunc

COUNT_STATE = record([("n", "i8"), ("last", "f8"), ("sums", "f8", (2,))])

jit_only = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="the JIT is off")


@kernel("f8, f8", inline=True)
def weighted_point(a, b):
    return a + 2.0 * b


@kernel("COUNT_STATE[:], i4[:], f8[:], i8, i8, out f8[:]")
def count_update(state, symbol, x, lo, hi, out):
    for i in range(lo, hi):
        s = state[symbol[i]]
        s.n += 1
        s.sums[1] += x[i]
        out[i] = weighted_point(s.last, x[i])
        s.last = x[i]


@ufunc("f8, f8")
def weighted(a, b):
    return weighted_point(a, b)


def run(x):
    state, out = np.zeros(1, COUNT_STATE), np.zeros(len(x))
    count_update(state, np.zeros(len(x), np.int32), x, 0, len(x), out)
    return state, out


@pytest.mark.pure
def test_a_kernel_updates_records_and_writes_outputs():
    state, out = run(np.array([1.0, 2.0, 4.0]))
    assert out.tolist() == [2.0, 5.0, 10.0]
    assert state["n"][0] == 3
    assert state["sums"][0].tolist() == [0.0, 7.0]


@pytest.mark.pure
def test_read_only_inputs_are_accepted_because_arrow_views_are():
    x = np.array([1.0, 2.0])
    x.flags.writeable = False
    assert run(x)[1].tolist() == [2.0, 5.0]


@pytest.mark.pure
def test_a_ufunc_is_its_point_function_broadcast():
    assert weighted(np.arange(3.0), 1.0).tolist() == [2.0, 3.0, 4.0]


@jit_only
@pytest.mark.parametrize("x", [np.zeros(8)[::2], np.zeros(4, np.float32)], ids=["strided", "float32"])
def test_an_undeclared_type_raises_instead_of_compiling(x):
    with pytest.raises(TypeError, match="No matching definition"):
        count_update(np.zeros(1, COUNT_STATE), np.zeros(4, np.int32), x, 0, 4, np.zeros(4))


@jit_only
def test_an_output_must_be_writable():
    out = np.zeros(2)
    out.flags.writeable = False
    with pytest.raises(TypeError, match="No matching definition"):
        count_update(np.zeros(1, COUNT_STATE), np.zeros(2, np.int32), np.zeros(2), 0, 2, out)


def test_a_signature_with_an_unknown_name_says_so():
    with pytest.raises(TypeError, match=r"'g8' in 'g8\[:\]' is neither one of"):
        kernel("g8[:]")(lambda x: x)


def test_commas_inside_brackets_do_not_split_a_signature():
    assert _kernel._split("f8[:,:], out f4[:], i8") == ["f8[:,:]", "out f4[:]", "i8"]
    assert _kernel._split("") == []


CALLEE = """
from tickarrow.jit._kernel import kernel
@kernel("f8")
def factor_point(x):
    return x * {factor}
"""
CALLER = """
from tickarrow.jit._kernel import kernel, warm
from tickarrow.jit.probe_callee import factor_point
@kernel("f8")
def twice_point(x):
    return factor_point(x) + factor_point(x)
warm()
print(twice_point(1.0))
"""


@jit_only
def test_an_edited_callee_changes_the_result_of_its_cached_caller(tmp_path):
    tree = tmp_path / "tickarrow" / "jit"
    tree.mkdir(parents=True)
    for name in ("__init__.py", "_kernel.py"):
        (tree / name).write_bytes((Path(_kernel.__file__).parent / name).read_bytes())
    (tree / "probe_caller.py").write_text(CALLER)
    env = os.environ | {"TICKARROW_CACHE": str(tmp_path / "cache")}
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.meta_path = [f for f in sys.meta_path if 'editable' not in str(f)]; "
        "import tickarrow.jit.probe_caller"
    )

    def result(factor):
        (tree / "probe_callee.py").write_text(CALLEE.format(factor=factor))
        return float(subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout)

    assert result(3.0) == 6.0
    assert result(3.0) == 6.0
    assert result(5.0) == 10.0
    folders = sorted(p.name.split("-")[0] for p in (tmp_path / "cache" / "kernels").iterdir())
    assert folders == ["probe_callee"] * 2 + ["probe_caller"] * 2


MANY = """
import os
from tickarrow.jit import _kernel
from tickarrow.jit._kernel import kernel, warm
@kernel("f8")
def a_point(x):
    return x + 1.0
@kernel("f8")
def b_point(x):
    return a_point(x) * 2.0
@kernel("f8")
def c_point(x):
    return b_point(x) - 3.0
@kernel("f8")
def d_point(x):
    return c_point(x) * c_point(x)
forks = []
fork = os.fork
os.fork = lambda: forks.append(fork()) or forks[-1]
_kernel.SLOW_S = -1.0
os.sched_getaffinity = lambda pid: {0, 1}
done = []
assert warm(lambda name, i, n: done.append((i, n))) == 4
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print(d_point(4.0), len(forks), done)
"""


@jit_only
def test_a_second_process_compiles_from_the_end_and_is_gone_afterwards(tmp_path):
    (tmp_path / "many.py").write_text(MANY)
    env = os.environ | {"TICKARROW_CACHE": str(tmp_path / "cache")}
    for _ in range(2):  # compiling, then loading
        ran = subprocess.run([sys.executable, str(tmp_path / "many.py")], env=env, capture_output=True, text=True, check=True)
        assert ran.stdout == "49.0 1 [(0, 4), (1, 4), (2, 4), (3, 4)]\n"


def test_the_digest_of_a_module_covers_what_it_imports_and_no_more():
    for path in _kernel.JIT_FOLDER.glob("*.py"):
        nodes = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom) and (n.module or "").startswith("tickarrow.jit")]
        named = {n.module.split(".")[2] for n in nodes if n.module != "tickarrow.jit"} | {a.name for n in nodes if n.module == "tickarrow.jit" for a in n.names}
        assert {p.stem for p in _kernel._text(path)[1]} == named, path.name


@jit_only
@pytest.mark.parametrize("variable", ["NUMBA_BOUNDSCHECK", "NUMBA_OPT", "NUMBA_CPU_NAME"])
def test_the_cache_folder_depends_on_variables_that_change_code(monkeypatch, variable):
    source = Path(_kernel.__file__)
    before = _kernel.cache_digest.__wrapped__(source)
    monkeypatch.setenv(variable, "7")
    assert _kernel.cache_digest.__wrapped__(source) != before


def test_tickarrow_cache_moves_everything_that_can_be_made_again(monkeypatch, tmp_path):
    monkeypatch.setenv("TICKARROW_CACHE", str(tmp_path))
    assert _kernel.cache_home() == tmp_path


@pytest.mark.parametrize("name", ["size", "max", "data"])
def test_a_record_field_that_numpy_would_hide_is_refused(name):
    with pytest.raises(ValueError, match=f"record field '{name}' is an attribute of NumPy scalars"):
        record([(name, "f8")])


def test_a_kernel_for_another_processor_is_not_compiled_and_says_so(monkeypatch):
    monkeypatch.setattr(numba.config, "CPU_FEATURES", "+avx2,+fma")
    _kernel.cpu_has.cache_clear()
    try:
        assert _kernel.cpu_has("avx2 fma")
        assert not _kernel.cpu_has("avx2 avx512vbmi")
        before = len(_kernel._registry)
        if not numba.config.DISABLE_JIT:
            far = _kernel.kernel("f8", needs="avx512vbmi")(lambda x: x)
            assert len(_kernel._registry) == before
            with pytest.raises(RuntimeError, match="needs a processor with avx512vbmi"):
                far(1.0)
    finally:
        monkeypatch.undo()
        _kernel.cpu_has.cache_clear()
