"""A user's own feature families: a Python file named in `features.files` that declares them as the built-in ones are declared.

The file is run once in a process and is then the module `tickarrow_user_<its name>`. All that can be wrong with it is one sentence. Its
bytes, and the module-level values that its kernels take in, belong to the feature digest and to the folder of compiled kernels: numba
compiles such values as constants and would not notice a change."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import numba
import numpy as np
from numba import types
from numba.core.errors import NumbaError

from tickarrow.jit import _kernel
from tickarrow.jit.event import BOOK_CHANGE, CLOCK, EVENT
from tickarrow.jit.feature import Column, Family
from tickarrow.jit.stateless import Stateless
from tickarrow.pipeline.errors import ConfigError, near

FEEDS = ("any", "trades", "every trade", "depth")
RECORDS = {"EVENT": EVENT, "CLOCK": CLOCK, "BOOK_CHANGE": BOOK_CHANGE}

# Arguments and declared types of a family's kernels, see `Family`; STATE is the family's own record.
SIGNATURES = {
    "step": ("s, e, w", "STATE, EVENT, i8[:]"),
    "emit": ("s, e, w, v, at", "STATE, EVENT, i8[:], out f8[:], i8"),
    "change": ("s, e, rate, w", "STATE, BOOK_CHANGE, f8[:], i8[:]"),
    "lane_step": ("f, q, e, w", "out f8[:,:], out i8[:,:], EVENT, i8[:]"),
    "bars": (
        "f, q, price, flow, base, unit, n, when, clock, lo, hi, pos, out",
        "out f8[:,:], out i8[:,:], i8[:,:], f8[:,:], i8[:], f8[:], i8[:], i8[:,:], CLOCK, i8, i8, i8, out f8[:,:]",
    ),
    "passes": ("f, q, sector, index, clock, out", "out f8[:,:], out i8[:,:], i4[:], i8, CLOCK, out f8[:,:]"),
}


@dataclass(frozen=True)
class UserFile:
    """A file of feature families that has been run."""

    path: Path
    code: CodeType
    module: ModuleType
    families: list[Family]
    constants: dict[str, Any]  # module-level values that its kernels take in
    content: str  # BLAKE2b-128 of its bytes, of those of its own modules with kernels, and of the constants


_files: dict[Path, UserFile] = {}


def load(path: str | Path) -> list[Family]:
    """The families of a user's file, which is run at the first call.

    Raises
    ------
    ConfigError : what is wrong with it
    """
    return open_file(path).families


def open_file(path: str | Path) -> UserFile:
    """`load`, with all that is known of the file."""
    where = Path(path).expanduser().resolve()
    if where in _files:
        return _files[where]
    name = f"tickarrow_user_{where.stem}"
    if (other := next((f.path for f in _files.values() if f.path.stem == where.stem), None)) is not None:
        raise ConfigError(f"features.files: {path} and {other} have one name. Rename one: a file's name names its module.")
    if not where.is_file():
        siblings = sorted(p.name for p in where.parent.glob("*.py")) if where.parent.is_dir() else []
        raise ConfigError(f"features.files: there is no file {path}. {near(where.name, siblings)} The path is relative to {Path.cwd()} or absolute.")
    try:
        code = compile(where.read_bytes(), str(where), "exec", dont_inherit=True)
    except SyntaxError as e:
        raise ConfigError(f"features.files: {path}, line {e.lineno}: {e.msg}.") from None
    except (OSError, ValueError) as e:
        raise ConfigError(f"features.files: {path} cannot be read: {getattr(e, 'strerror', None) or e}.") from None
    _files[where] = found = run(where, code, name)
    return found


def files() -> list[UserFile]:
    """The files that have been run."""
    return list(_files.values())


def content(family: Family) -> str:
    """What the feature digest takes of the file that declares a family; empty for one that comes from none."""
    return next((f.content for f in _files.values() if any(g is family for g in f.families)), "")


def run(path: Path, code: CodeType, name: str) -> UserFile:
    """Run the code as module `name`, check the families it declares, and compile their kernels. What an error leaves is as before."""
    registered, known, before = len(_kernel._registry), set(_kernel._user_files), sys.modules.get(name)
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module
    sys.path.append(str(path.parent))  # modules of the user's beside it
    try:
        try:
            exec(code, module.__dict__)
        except (Exception, SystemExit) as e:
            line = next((f.lineno for f in reversed(traceback.extract_tb(e.__traceback__)) if f.filename == str(path)), 1)
            raise ConfigError(f"features.files: {path.name}, line {line}: {type(e).__name__}: {_first_line(e)}") from None
        families = _declared(module, path.name)
        constants = dict(_constants(registered))
        h = hashlib.blake2b(digest_size=16)
        for file in sorted({path} | _kernel._user_files - known):
            h.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
        for key in sorted(constants):
            h.update(f"{key}\0".encode() + as_bytes(constants[key]) + b"\0")
        if constants:
            _recompile(path, registered, h.hexdigest())
        for f in families:
            _check(f, module, path.name)
        return UserFile(path, code, module, families, constants, h.hexdigest())
    except BaseException:
        del _kernel._registry[registered:]  # half a family must not be in the way of `warm`
        _kernel._user_files.intersection_update(known)
        sys.modules.pop(name)
        if before is not None:
            sys.modules[name] = before
        raise
    finally:
        sys.path.remove(str(path.parent))


def _first_line(e: BaseException) -> str:
    text = str(e).strip().splitlines()
    return (text[0] if text else "no reason given").rstrip(".") + "."


# --- module-level values that kernels take in


def _constants(registered: int) -> Iterator[tuple[str, Any]]:
    """Name and value of each number, text and array that a kernel declared since reads from its module or closes over."""
    for name, compiled, _ in _kernel._registry[registered:]:
        function = compiled.py_func
        values = {n: function.__globals__[n] for n in _names(function.__code__) if n in function.__globals__}
        values |= dict(zip(function.__code__.co_freevars, (c.cell_contents for c in function.__closure__ or ())))
        for n, value in values.items():
            if as_bytes(value):
                yield f"{name}.{n}", value


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)


def as_bytes(value: Any) -> bytes:
    """Bytes of a value that numba compiles as a constant; empty for anything else."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype.descr if value.dtype.names else value.dtype.str}{value.shape}".encode() + np.ascontiguousarray(value).tobytes()
    if isinstance(value, np.generic):
        return as_bytes(np.asarray(value))
    if isinstance(value, bool | int | float | complex | str | bytes):
        return repr(value).encode()
    if isinstance(value, tuple):
        parts = [as_bytes(v) for v in value]
        return b"(" + b",".join(parts) + b")" if all(parts) else b""
    return b""


def _recompile(path: Path, registered: int, digest: str) -> None:
    """Name the cache folder of the kernels declared since, and of all that call them, by the constants too."""
    folder = _kernel.cache_home() / "features"
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / f"{path.stem}-{digest}.txt"
    part = note.with_suffix(f".{os.getpid()}")
    part.write_text(digest)
    os.replace(part, note)
    _kernel._user_files.add(note.resolve())
    for _, compiled, _ in _kernel._registry[registered:]:
        if hasattr(compiled, "enable_caching"):  # not a ufunc
            with _kernel._cache_folder(Path(compiled.py_func.__code__.co_filename)):
                compiled.enable_caching()


# --- what a file declares


def _declared(module: ModuleType, file: str) -> list[Family]:
    """FAMILY, FAMILIES, and what the decorator `feature` has made, each once."""
    found: list[Any] = [module.FAMILY] if hasattr(module, "FAMILY") else []
    listed = getattr(module, "FAMILIES", ())
    if not isinstance(listed, list | tuple):
        raise ConfigError(f"features.files: FAMILIES of {file} is {type(listed).__name__}, not a list of Family objects of tickarrow.jit.feature.")
    found += [*listed, *(v for v in vars(module).values() if isinstance(v, Stateless) and v.module == module.__name__)]
    families: list[Family] = []
    for f in found:
        if not isinstance(f, Family):
            raise ConfigError(f"features.files: {file} declares {f!r:.60}, which is no Family of tickarrow.jit.feature.")
        if not any(f is g for g in families):
            families.append(f)
    if not families:
        like = [n for n, v in vars(module).items() if isinstance(v, Family) or (isinstance(v, list) and v and isinstance(v[0], Family))]
        hint = f"{like[0]} is one: name it FAMILY, or list it in FAMILIES." if like else "End it with FAMILY = Family(...) of tickarrow.jit.feature."
        raise ConfigError(f"features.files: {file} declares no feature family. {hint}")
    owner: dict[str, str] = {}
    for f in families:
        for what, name in [("family", f.name), *(("column", c.name) for c in all_columns(f, file))]:
            if f"{what} {name}" in owner:
                raise ConfigError(f"features.files: {what} {name!r} stands twice in {file}. Rename one.")
            owner[f"{what} {name}"] = f.name
    return families


def all_columns(f: Family, file: str = "") -> list[Column]:
    """Columns of a family with its own windows, in order; ConfigError if it does not give any."""
    try:
        tick = list(f.columns(f.tau_s))
    except Exception as e:
        raise ConfigError(f"features.files: columns of family {f.name!r} ({file}) fails for its windows {list(f.tau_s)}: {_first_line(e)}") from None
    return [*tick, *f.bar_columns, *f.pass_columns]


def _check(f: Family, module: ModuleType, file: str) -> None:
    """ConfigError if a family is not what `Family` says."""
    where = f"family {f.name!r} ({file})"
    if not isinstance(f.name, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", f.name):
        raise ConfigError(f"features.files: a family of {file} is called {f.name!r}. Take letters, digits and _.")
    columns = all_columns(f, file)
    if not columns:
        raise ConfigError(f"features.files: {where} has no column. Give columns, bar_columns or pass_columns.")
    for c in columns:
        if not isinstance(c, Column):
            raise ConfigError(f"features.files: {where}: column {c!r} is no Column of tickarrow.jit.feature: Column(name, unit, formula).")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", c.name) or not c.unit or not c.formula:
            raise ConfigError(f"features.files: {where}: column {c.name!r} needs a name of letters, digits and _, a unit ('1' = a pure number) and a formula.")
        if c.feed not in FEEDS:
            raise ConfigError(f"features.files: {where}: feed of column {c.name!r} is {c.feed!r}. {near(c.feed, FEEDS)}")
    tick = len(columns) - len(f.bar_columns) - len(f.pass_columns)
    for given, needed, what in (
        (f.emit is not None, tick > 0, "emit writes `columns`"), (f.bars is not None, bool(f.bar_columns), "bars writes `bar_columns`"),
        (f.passes is not None, bool(f.pass_columns), "passes writes `pass_columns`"),
    ):  # fmt: skip
        if given != needed and (needed or what.startswith("emit")):
            raise ConfigError(f"features.files: {where}: {what}, and only one of the two is given.")
    if f.state is None and (f.step is not None or f.emit is not None or f.change is not None):
        raise ConfigError(f"features.files: {where} has kernels of the tick clock and no state. Give state=record([...]).")
    for slot, (arguments, signature) in SIGNATURES.items():
        if (compiled := getattr(f, slot)) is not None:
            _check_kernel(compiled, f"{slot} of {where}", arguments, signature, {**RECORDS, "STATE": f.state}, module)
    if f.emit is not None and f.state is not None:
        _check_emit(f, where, [c.name for c in columns[:tick]])


def _check_kernel(compiled: Any, what: str, arguments: str, signature: str, names: dict[str, Any], module: ModuleType) -> None:
    """ConfigError if a kernel has other arguments than its place asks for, or does not compile."""
    expected = f'expected @kernel("{signature}") def ...({arguments})'
    function = getattr(compiled, "py_func", compiled)
    code = getattr(function, "__code__", None)
    if code is None or (not numba.config.DISABLE_JIT and function is compiled):
        raise ConfigError(f"features.files: {what} is no kernel; {expected}, kernel from tickarrow.jit._kernel.")
    if code.co_argcount != len(arguments.split(",")):
        raise ConfigError(f"features.files: {what}, line {code.co_firstlineno}, takes {code.co_argcount} arguments; {expected}.")
    if numba.config.DISABLE_JIT:
        return
    declared = next((types_ for _, c, types_ in _kernel._registry if c is compiled), None)
    if declared is None:
        raise ConfigError(f"features.files: {what} is not declared with @kernel; {expected}, kernel from tickarrow.jit._kernel.")
    wanted = tuple(_kernel._argument(t, names) for t in _kernel._split(signature))
    if declared != wanted:
        mine = {n: v for n, v in vars(module).items() if isinstance(v, np.dtype)} | RECORDS
        k = next(k for k, (a, b) in enumerate(zip(declared, wanted)) if a != b)
        argument, spelt = arguments.split(", ")[k], _spelt(declared[k], mine)
        raise ConfigError(f"features.files: {what}, line {code.co_firstlineno}: argument {argument!r} is declared as {spelt!r}; {expected}.")
    try:
        compiled.compile(wanted)
    except NumbaError as e:
        raise ConfigError(f"features.files: {what} does not compile: {_compiler_says(e, code.co_firstlineno)}") from None
    except KeyError as e:  # how numba says that a record has no such field
        fields = [n for r in names.values() if r is not None for n in r.names]
        line = _line_of(e) or code.co_firstlineno
        raise ConfigError(f"features.files: {what} does not compile: line {line}: no field {e.args[0]!r}. {near(str(e.args[0]), fields)}") from None


def _spelt(t: Any, records: dict[str, np.dtype[Any]]) -> str:
    """A declared type as a signature writes it."""
    if isinstance(t, types.Array):
        return f"{'' if not t.mutable or isinstance(t.dtype, types.Record) else 'out '}{_spelt(t.dtype, records)}[{','.join(':' * t.ndim)}]"
    if isinstance(t, types.Record):
        return next((n for n, d in records.items() if numba.from_dtype(d) == t), "a record")
    return next((n for n, s in _kernel.SCALARS.items() if s == t), str(t))


def _compiler_says(e: NumbaError, line: int) -> str:
    """The first reason that numba gives, and where."""
    lines = [x.strip() for x in re.sub(r"\x1b\[[0-9;]*m", "", str(e)).splitlines()]
    where = next((m.group(1) for x in lines if (m := re.search(r'File ".*?", line (\d+)', x))), str(getattr(getattr(e, "loc", None), "line", line)))
    noise = ("Failed in", "- Resolution failure", "- argument", "During:", "File ", ">>>", "There are", "Overload", "Rejected", "- Of which")
    said = [x for x in lines if x and not x.startswith(noise) and not set(x) <= set("^-~ ")]
    return f"line {where}: {(said[0] if said else type(e).__name__).rstrip('.')}."


def _line_of(e: BaseException) -> int:
    """The line of the user's that numba was at, 0 = not known."""
    line, tb = 0, e.__traceback__
    while tb is not None:
        loc = getattr(tb.tb_frame.f_locals.get("self"), "loc", None)
        line, tb = getattr(loc, "line", line), tb.tb_next
    return line


CANARIES = (1.2345678e300, -9.8765432e300)  # no column has such a value


def _check_emit(f: Family, where: str, names: list[str]) -> None:
    """ConfigError if emit, called for a first tick, writes less or more than its columns: what is not written is another row's value."""
    state, e = np.zeros(1, f.state)[0], np.zeros(1, EVENT)[0]
    e.ts, e.bid, e.ask, e.bid_size, e.ask_size, e.tick_size = 1_700_000_000_000_000_000, 99.99, 100.01, 300.0, 200.0, 0.01
    e.mid, e.last_mid, e.is_quote, e.complete, e.first, e.price, e.quantity = 100.0, np.nan, True, True, True, np.nan, np.nan
    w, n = np.arange(max(len(f.tau_s), 1)), len(names)
    left = np.ones(n + 2, bool)
    for canary in CANARIES:
        v = np.full(n + 2, canary)
        f.emit(state, e, w, v, 1)
        left &= v == canary
    if not (left[0] and left[-1]):
        raise ConfigError(f"features.files: emit of {where} writes outside of v[at] to v[at + {n - 1}]: it has {n} column{'s' if n > 1 else ''}.")
    if left[1:-1].any():
        name = names[int(np.argmax(left[1:-1]))]
        raise ConfigError(f"features.files: emit of {where} does not write column {name!r} at a first tick. Write NaN where nothing is known.")
