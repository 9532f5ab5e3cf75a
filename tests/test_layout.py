"""The tree of files is a contract: who may import whom, one place for compilation, modules of a readable size."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = [p for folder in ("jit", "pipeline", "configs") for p in sorted((ROOT / folder).glob("*.py"))]
MAY_IMPORT = {"jit": {"jit"}, "configs": {"configs"}, "pipeline": {"jit", "configs", "pipeline", "conf"}}
MAX_LINES = 400


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            yield from (f"{node.module}.{a.name}" for a in node.names) if node.module == "tickarrow" else (node.module or "",)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_a_folder_imports_only_what_it_may(path):
    ours = {name.split(".")[1] for name in imported(path) if name.startswith("tickarrow.")}
    assert ours <= MAY_IMPORT[path.parent.name]
    assert not {"jit", "pipeline", "configs", "conf"} & {name.split(".")[0] for name in imported(path)}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_a_module_has_a_docstring_and_a_readable_size(path):
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)), "say what it is for"
    assert len(text.splitlines()) <= MAX_LINES


def names(path):
    """Every name and attribute that a module's code uses, imports included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.ImportFrom):
            yield from (a.name for a in node.names)


@pytest.mark.parametrize("path", [p for p in MODULES if p.name != "_kernel.py"], ids=lambda p: f"{p.parent.name}/{p.name}")
def test_only_the_kernel_decorator_compiles(path):
    assert not set(names(path)) & {"njit", "jit_module", "vectorize", "guvectorize", "cfunc", "jitclass"}


LIBM = {
    "exp", "expm1", "exp2", "log", "log1p", "log2", "log10", "pow", "power", "float_power", "sin", "cos", "tan", "sinh", "cosh", "tanh",
    "asin", "acos", "atan", "arctan", "erf", "erfc", "gamma", "lgamma", "cbrt", "hypot",
}  # fmt: skip


@pytest.mark.parametrize("path", [p for p in MODULES if p.parent.name == "jit"], ids=lambda p: p.name)
def test_kernels_call_no_libm(path):
    """exp, log and pow of the C library differ between machines; digests depend on ours (design contract 9)."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    used = {n.attr for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id in ("math", "np")}
    used |= {a.name for n in nodes if isinstance(n, ast.ImportFrom) and n.module in ("math", "numpy") for a in n.names}
    assert not used & LIBM
    for function in (n for n in nodes if isinstance(n, ast.FunctionDef) and n.decorator_list):
        for power in (n for n in ast.walk(function) if isinstance(n, ast.BinOp) and isinstance(n.op, ast.Pow)):
            operands = (power.left, power.right)
            assert all(isinstance(n, ast.Constant) for n in operands), f"{function.name}: ** calls pow, unless it is of two constants"


def test_a_stem_is_the_same_everywhere():
    stems = {p.stem.lstrip("_") for p in MODULES}
    stems |= {"layout", "parity", "readme", "embed", "benchmarks", "incidents", "peers", "live_day", "order_safety", "steady_memory"}
    for path in [*(ROOT / "tests").glob("test_*.py"), *(ROOT / "benchmarks").glob("bench_*.py")]:
        stem = re.sub(r"^(test|bench)_", "", path.stem)
        assert any(stem == s or stem.startswith(f"{s}_") for s in stems), f"{path.name} belongs to no module"


def test_every_package_is_listed_for_installation():
    listed = re.search(r"packages = \[(.*?)\]", (ROOT / "pyproject.toml").read_text()).group(1)
    for folder in ("pipeline", "jit", "configs", "conf"):
        assert f'"tickarrow.{folder}"' in listed
