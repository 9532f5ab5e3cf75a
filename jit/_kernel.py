"""The only way a function of this project is compiled: `kernel` and `ufunc` own the options, the declared signature and the
cache folder; `warm` compiles or loads everything and then forbids further compilation.

numba's disk cache does not notice when a callee in another file changes, and ignores variables such as NUMBA_BOUNDSCHECK.
So each module has a cache folder named by a digest of every file and variable that can change its machine code: itself, the modules it
imports, theirs, and the user's own files (design contract 16, docs/decisions/0015)."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import mmap
import os
import re
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba
import numpy as np
from numba import types

SCALARS = {
    "i1": types.int8, "i2": types.int16, "i4": types.int32, "i8": types.int64,
    "u1": types.uint8, "u2": types.uint16, "u4": types.uint32, "u8": types.uint64,
    "f4": types.float32, "f8": types.float64, "?": types.boolean,
}  # fmt: skip

# What numba's own index ignores although it changes the code (measured), plus what selects the target.
CODE_VARIABLES = (
    "NUMBA_BOUNDSCHECK", "NUMBA_OPT", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_ENABLE_AVX", "NUMBA_LOOP_VECTORIZE",
    "NUMBA_SLP_VECTORIZE", "NUMBA_DEBUGINFO", "NUMBA_DISABLE_INTEL_SVML",
)  # fmt: skip
KEPT_CACHES = 6  # of a module: older cache folders are removed when a new one is made
KEPT_DRIVERS = 48  # one for each set of feature families that is used
SLOW_S = 1.0  # after so long it is compiling and not loading
DRIVER = "tickarrow_driver_"  # begin of the name of a generated module, see pipeline/features_driver.py
PR_SET_PDEATHSIG = 1  # of prctl(2)
IMPORT = re.compile(r"^\s*from tickarrow\.jit(?:\.(\w+))? import (\([^)]*\)|.*)", re.MULTILINE)

JIT_FOLDER = Path(__file__).resolve().parent
_registry: list[tuple[str, Any, tuple[Any, ...]]] = []  # (name, dispatcher, argument types), callees first
_warmed = 0  # entries of the registry that are compiled and closed
_user_files: set[Path] = set()


def record(fields: Sequence[tuple[Any, ...]]) -> np.dtype[Any]:
    """Aligned record type of a kernel's state; `np.record`, so that `state[i].name` also works with the JIT off.

    Raises
    ------
    ValueError : a field is named like an attribute of NumPy scalars (`size`, `max`, ...), which would hide it with the JIT off
    """
    for name, *_ in fields:
        if hasattr(np.void, name):
            raise ValueError(f"record field {name!r} is an attribute of NumPy scalars and is hidden by it with the JIT off. Choose another name.")
    return np.dtype((np.record, np.dtype(list(fields), align=True)))


def cache_home() -> Path:
    """Folder of everything that can be made again: compiled kernels, model sets, engines. TICKARROW_CACHE overrides it."""
    if home := os.environ.get("TICKARROW_CACHE"):
        return Path(home)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tickarrow"


@functools.cache
def _text(path: Path) -> tuple[bytes, frozenset[Path]]:
    """A source file and the modules of this folder that it imports."""
    raw = path.read_bytes()
    names: set[str] = set()
    for module, listed in IMPORT.findall(raw.decode()):
        names |= {module} if module else set(re.findall(r"\w+", listed))
    return raw, frozenset(p for n in names if (p := JIT_FOLDER / f"{n}.py").is_file())


@functools.cache
def cache_digest(source: Path, user_files: frozenset[Path] = frozenset()) -> str:
    """Name of the cache folder of a module: every file, variable and version that can change the machine code of its kernels."""
    files, todo = set(user_files), {source}
    while todo:
        files |= todo
        todo = {p for f in todo for p in _text(f)[1]} - files
    h = hashlib.blake2b(digest_size=16)
    for path in sorted(files):
        h.update(path.name.encode() + b"\0" + _text(path)[0] + b"\0")
    for name in CODE_VARIABLES:
        h.update(f"{name}={os.environ.get(name, '')}\0".encode())
    h.update(f"{numba.__version__} {llvmlite.__version__} {np.__version__} {sys.version_info[:2]}".encode())
    return f"{source.stem}-{h.hexdigest()}"


def user_digest(source: Path) -> str:
    """The same of a user's file; it may import any other of them."""
    return cache_digest(source, frozenset(_user_files))


@contextmanager
def _cache_folder(source: Path) -> Iterator[None]:
    """Point numba's cache at our folder while a function of `source` is decorated."""
    ours = source.parent == JIT_FOLDER or source.stem.startswith(DRIVER)
    if not ours:
        _user_files.add(source)
    folder = cache_home() / "kernels" / (cache_digest(source) if ours else user_digest(source))
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        driver = source.stem.startswith(DRIVER)
        of_module = folder.parent.glob(f"{DRIVER}*" if driver else f"{source.stem}-{'?' * 32}")
        for old in sorted(of_module, key=lambda p: p.stat().st_mtime)[: -(KEPT_DRIVERS if driver else KEPT_CACHES)]:
            shutil.rmtree(old, ignore_errors=True)
    before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(folder)
    try:
        yield
    finally:
        numba.config.CACHE_DIR = before


def _split(signature: str) -> list[str]:
    """Split at the commas that stand outside brackets."""
    parts, depth, start = [], 0, 0
    for i, c in enumerate(signature):
        depth += (c == "[") - (c == "]")
        if c == "," and depth == 0:
            parts.append(signature[start:i].strip())
            start = i + 1
    return [*parts, signature[start:].strip()] if signature.strip() else []


def _argument(text: str, names: dict[str, Any]) -> Any:
    """One argument of a signature as a numba type: `f8`, `f8[:]`, `out f8[:,:]`, `STATE`, `STATE[:]`."""
    out = text.startswith("out ")
    base, _, dims = text.removeprefix("out ").strip().partition("[")
    dtype = names.get(base)
    if base in SCALARS:
        item: Any = SCALARS[base]
    elif isinstance(dtype, np.dtype):
        item = numba.from_dtype(dtype)
    else:
        raise TypeError(f"kernel signature: {base!r} in {text!r} is neither one of {' '.join(SCALARS)} nor a record type of the module")
    if not dims:
        return item
    readonly = not out and base in SCALARS  # state is mutable, input columns are not: Arrow views are read-only
    return types.Array(item, dims.count(":"), "C", readonly=readonly)


@functools.cache
def cpu_has(features: str) -> bool:
    """Whether the processor that numba compiles for has all of these (LLVM's names, space-separated); this one, unless NUMBA_CPU_NAME and
    NUMBA_CPU_FEATURES name another."""
    if numba.config.CPU_FEATURES is not None:
        there = {f[1:] for f in str(numba.config.CPU_FEATURES).split(",") if f.startswith("+")}
    else:
        there = {name for name, has in llvmlite.binding.get_host_cpu_features().items() if has}
    return set(features.split()) <= there


@functools.cache
def target() -> str:
    """The processor that numba compiles for: its name in LLVM and a digest of its features."""
    name = numba.config.CPU_NAME or llvmlite.binding.get_host_cpu_name()
    features = numba.config.CPU_FEATURES
    if features is None:
        features = llvmlite.binding.get_host_cpu_features().flatten()
    return f"{name}-{hashlib.blake2b(str(features).encode(), digest_size=4).hexdigest()}"


def _needs(features: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """What stands for a kernel on a processor that cannot run it: LLVM would end the process if it were compiled."""

    @functools.wraps(function)
    def refuse(*arguments: Any) -> Any:
        raise RuntimeError(f"kernel {function.__name__} needs a processor with {features}, see cpu_has")

    return refuse


def kernel(signature: str, *, fastmath: set[str] | bool = False, inline: bool = False, needs: str = "") -> Callable[[Callable[..., Any]], Any]:
    """Compile the decorated function for one declared signature.

    Parameters
    ----------
    signature : comma-separated types of the arguments: `i8`, `f8`, `?`, arrays `f8[:]`, `f8[:,:]` (C-contiguous),
        record types of the module by name (`STATE`, `STATE[:]`). Arrays are read-only unless marked `out`; record arrays
        are mutable.
    fastmath : LLVM fast-math flags; off, because NaN means missing and results are in digests
    inline : let LLVM inline the function into its callers (small `_point` helpers)
    needs : processor features without which it is not compiled, as `cpu_has` takes them; calling it then raises RuntimeError

    Notes
    -----
    Nothing is compiled at import: `warm` does it, callees first, then disables compilation, so that an unexpected type
    raises `TypeError` instead of compiling in a tick.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        if needs and not (numba.config.DISABLE_JIT or cpu_has(needs)):
            return _needs(needs, function)
        source = Path(function.__code__.co_filename).resolve()
        arguments = tuple(_argument(t, function.__globals__) for t in _split(signature))
        with _cache_folder(source):
            # _nrt: no reference counts and no allocation; a kernel that would allocate does not compile (docs/decisions/0004)
            options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "cache": True, "fastmath": fastmath, "_nrt": False}
            if inline:
                options["forceinline"] = True
            compiled: Any = numba.njit(**options)(function)
        if not numba.config.DISABLE_JIT:
            _registry.append((f"{source.stem}.{function.__name__}", compiled, arguments))
        return compiled

    return decorate


def ufunc(signature: str) -> Callable[[Callable[..., Any]], Any]:
    """Make a NumPy ufunc of a scalar kernel's formula, for research: broadcasting, `out=`, `where=`. Not for the hot path."""

    def decorate(function: Callable[..., Any]) -> Any:
        if numba.config.DISABLE_JIT:
            return np.vectorize(function, otypes=[float])
        source = Path(function.__code__.co_filename).resolve()
        arguments = tuple(_argument(t, function.__globals__) for t in _split(signature))
        with _cache_folder(source):
            compiled: Any = numba.vectorize(cache=True)(function)
        _registry.append((f"{source.stem}.{function.__name__}", compiled, arguments))
        return compiled

    return decorate


def address(compiled: Any) -> int:
    """Address of a warmed kernel's machine code, for `call_at` of memory.py."""
    (result,) = compiled.overloads.values()
    return int(result.library.get_pointer_to_function(result.fndesc.llvm_func_name))


def pending() -> int:
    """Number of registered kernels that `warm` has not compiled yet."""
    return len(_registry) - _warmed


def not_compiled() -> list[str]:
    """Names of the registered kernels that no process has compiled into the cache yet."""
    out: list[str] = []
    files: dict[str, list[str]] = {}
    for name, compiled, _ in _registry[_warmed:]:
        folder = getattr(getattr(compiled, "stats", None), "cache_path", None)
        if folder is None:  # a ufunc: numba does not say
            continue
        if folder not in files:
            files[folder] = os.listdir(folder) if os.path.isdir(folder) else []
        function = compiled.py_func
        key = f"{function.__qualname__}-{function.__code__.co_firstlineno}."
        if not any(key in file and file.endswith(".nbi") for file in files[folder]):
            out.append(name)
    return out


def _compile(compiled: Any, arguments: tuple[Any, ...]) -> None:
    if hasattr(compiled, "ufunc"):
        compiled.add(arguments)
    else:
        compiled.compile(arguments)


def end_with(parent: int) -> None:
    """This process ends when the one that has forked it does, however that ends: a command that was killed would go on compiling for minutes, with
    both cores, and whoever reads what it prints would wait for the end of that."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended already
        os._exit(0)


def _compile_from_the_end(todo: Sequence[tuple[str, Any, tuple[Any, ...]]], done: mmap.mmap) -> int:
    """Start a process that compiles into the cache, last kernel first, until it meets this one, whose progress is the first byte pair of `done`.

    Returns
    -------
    int, its process id. numba compiles in one thread; what this process comes to later is then loaded.
    """
    here = os.getpid()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads that draw progress are not needed there
        child = os.fork()
    if child == 0:
        try:
            end_with(here)
            for i in range(len(todo) - 1, -1, -1):
                if i <= int.from_bytes(done[:2], "little"):
                    break
                _compile(*todo[i][1:])
        finally:
            os._exit(0)
    return child


def warm(progress: Callable[[str, int, int], None] | None = None) -> int:
    """Compile or load every registered kernel, callees first, then forbid further compilation. Where there is much to compile and a second
    core, another process begins at the end.

    Parameters
    ----------
    progress : called with (kernel name, kernels done, kernels in all) before each kernel

    Returns
    -------
    int, number of kernels made ready by this call
    """
    global _warmed
    todo = _registry[_warmed:]
    done, child, started = mmap.mmap(-1, 2), 0, time.monotonic()
    try:
        for i, (name, compiled, arguments) in enumerate(todo):
            if progress is not None:
                progress(name, i, len(todo))
            done[:2] = i.to_bytes(2, "little")
            if not child and time.monotonic() - started > SLOW_S and len(todo) - i > 2 and len(os.sched_getaffinity(0)) > 1:
                child = _compile_from_the_end(todo, done)
            _compile(compiled, arguments)
    finally:  # also after a Ctrl-C
        if child:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    for _, compiled, _ in todo:
        compiled.disable_compile()
    _warmed = len(_registry)
    return len(todo)
