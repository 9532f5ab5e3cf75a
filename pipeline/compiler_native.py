"""Native code of the `treelite_c` engine: C of tl2cgen, made bit-equal to xgboost, compiled once per model and kept by content.

tl2cgen adds the base score last and prints leaves as double constants, so its sums differ from xgboost's in the last bits. The patch
begins with the base score and gives leaves their float suffix; it takes the generated code apart line by line and refuses what it does
not know, because a silent change of the generator must not become a wrong forecast."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tl2cgen
import treelite
import xgboost

from tickarrow.jit._kernel import cache_home
from tickarrow.pipeline.errors import ModelError
from tickarrow.pipeline.forest import Forest
from tickarrow.pipeline.library import LoadedModel, XgboostModel

Progress = Callable[[str, int, int], None]

PATCH_VERSION = 1
FLAGS = ("-O1", "-fPIC", "-std=c99", "-ffp-contract=off", "-fno-fast-math")
ENTRY = re.compile(r"union Entry \{\s*int missing;\s*float fvalue;\s*int qvalue;\s*\};")
HEAD = "void predict(union Entry* data, int pred_margin, float* result) {"
BASE_MARK = "// Apply base_scores"
LEAF = re.compile(r"(\s*)result\[0\] \+= (-?[0-9.]+(?:[eE][-+]?[0-9]+)?);")
BASE = re.compile(r"\s*result\[0\] \+= (-?[0-9.]+(?:[eE][-+]?[0-9]+)?);")
NUMBER = r"\(float\)-?[0-9.]+(?:[eE][-+]?[0-9]+)?"
FOUND = r"\(data\[\d+\]\.missing != -1\)"
LESS = rf"\(data\[\d+\]\.fvalue < {NUMBER}\)"
OTHER = re.compile(rf"\s*(?:if \( ?(?:{FOUND} && {LESS}|!{FOUND} \|\| {LESS})\s?\) \{{|\}} else \{{|\}}|unsigned int tmp;|)")


def find_compiler(asked: str = "") -> str:
    """Path of the C compiler; ModelError if there is none."""
    name = asked or os.environ.get("CC") or "cc"
    path = shutil.which(name)
    if path is None:
        raise ModelError(f"no C compiler: {name!r} is not on the PATH. Install gcc or clang, or name one (models.compiler=NAME).")
    return path


def compiler_version(compiler: str) -> str:
    said = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False)
    return said.stdout.splitlines()[0] if said.returncode == 0 and said.stdout else compiler


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep tl2cgen's notes about versions and files from the terminal; its library writes past Python's own streams."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(io.StringIO()):
            os.dup2(nowhere.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def generate(booster: xgboost.Booster) -> tuple[str, str]:
    """C code of tl2cgen for one model: main.c and header.h."""
    with tempfile.TemporaryDirectory() as folder, _silence():
        model = treelite.frontend.from_xgboost(booster)
        tl2cgen.generate_c_code(model, dirpath=folder, params={"parallel_comp": 0}, verbose=False)
        return Path(folder, "main.c").read_text(), Path(folder, "header.h").read_text()


def _float(text: str) -> str:
    """A C float constant of the same value as the decimal text read as float32."""
    value = np.float32(text)
    written = f"{value:.9g}"
    return written + ("f" if any(c in written for c in ".e") else ".0f")


def patch(source: str, header: str, forest: Forest, symbol: str, name: str) -> str:
    """One C function `symbol` whose float32 sum has the order of xgboost; ModelError where the generated code is not what it must be."""

    def refuse(what: str) -> ModelError:
        by = f"tl2cgen {tl2cgen.__version__}"
        return ModelError(f"model {name!r}: the C code of {by} is not what the patch expects: {what}. Use models=portable.")

    entry = ENTRY.search(header)
    if entry is None:
        raise refuse("union Entry has other members")
    if source.count(HEAD) != 1 or source.count(BASE_MARK) != 1:
        raise refuse("expected one predict function with one base score")
    body, tail = source.split(HEAD)[1].split(BASE_MARK)
    base = BASE.match(tail)
    if base is None or float(np.float32(base[1])) != forest.base:
        raise refuse(f"expected the base score {np.float32(forest.base)} to be added, found {tail.strip().splitlines()[0]!r}")
    lines, leaves, depth = [], 0, 0
    for line in body.rstrip().removesuffix("//").split("\n"):
        if leaf := LEAF.fullmatch(line):
            lines.append(f"{leaf[1]}s += {_float(leaf[2])};")
            leaves += 1
        elif OTHER.fullmatch(line):
            if "tmp" not in line:
                lines.append(line)
            depth += line.count("{") - line.count("}")
        else:
            raise refuse(f"unknown line {line.strip()!r}")
    if leaves != forest.leaves.sum() or depth != 0:
        raise refuse(f"{leaves} leaves, expected {forest.leaves.sum()}")
    return "\n".join([
        entry[0], f"void {symbol}(const union Entry* data, int pred_margin, float* result) {{",
        f"  float s = {_float(str(np.float32(forest.base)))};", "  (void)pred_margin;", *lines, "  result[0] = s;", "}", "",
    ])  # fmt: skip


def object_key(model_digest: str, version: str) -> str:
    """What an object file depends on: the model, who generates, who compiles, how."""
    text = f"{model_digest} {treelite.__version__} {tl2cgen.__version__} {PATCH_VERSION} {version} {' '.join(FLAGS)}"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _run(command: Sequence[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise ModelError(f"{what} was not compiled by {command[0]}: {said[0] if said else 'no message'}. Use models=portable.")


def build(
    models: Callable[[], Sequence[LoadedModel]],
    forests: Callable[[], Sequence[Forest]],
    model_digests: Sequence[str],
    names: Sequence[str],
    compiler: str,
    jobs: int,
    progress: Progress | None = None,
) -> Path:
    """Shared library of the whole bank; only models without an object file are compiled.

    Parameters
    ----------
    models, forests : called only if something has to be compiled
    model_digests : digest of each model file
    names : of the models, for errors and progress
    """
    version = compiler_version(compiler)
    keys = [object_key(d, version) for d in model_digests]
    home = cache_home() / "engines"
    library = home / f"{hashlib.blake2b(' '.join(keys).encode(), digest_size=16).hexdigest()}.so"
    if library.is_file():
        return library
    objects = home / "objects"
    objects.mkdir(parents=True, exist_ok=True)
    wanted = {k: m for m, k in enumerate(keys) if not (objects / f"{k}.o").is_file()}
    with tempfile.TemporaryDirectory(dir=home) as folder, ThreadPoolExecutor(max(1, jobs)) as pool:

        def compile_one(key: str, m: int) -> str:
            c, o = Path(folder, f"{key}.c"), Path(folder, f"{key}.o")
            _run([compiler, *FLAGS, "-c", str(c), "-o", str(o)], f"model {names[m]!r}")
            o.replace(objects / o.name)
            return names[m]

        pending = []
        for key, m in wanted.items():  # generation is quick and prints: one at a time, here
            model = models()[m]
            if not isinstance(model, XgboostModel):
                raise ModelError(f"model {names[m]!r} is of {model.library}: the C code is exact for xgboost only. Use models=portable.")
            code = patch(*generate(model.booster), forests()[m], symbol(key), names[m])
            Path(folder, f"{key}.c").write_text(code)
            pending.append(pool.submit(compile_one, key, m))
        for done, future in enumerate(pending, 1):
            name = future.result()
            if progress is not None:
                progress(name, done, len(pending))
        linked = Path(folder, "bank.so")
        unique = list(dict.fromkeys(keys))
        _run([compiler, "-shared", "-o", str(linked), *(str(objects / f"{k}.o") for k in unique)], "the bank")
        linked.replace(library)
    return library


def symbol(key: str) -> str:
    return f"predict_{key}"


def addresses(library: ctypes.CDLL, model_digests: Sequence[str], compiler: str) -> npt.NDArray[np.uint64]:
    """Address of each model's function; valid while `library` is held."""
    version = compiler_version(compiler)
    found = [ctypes.cast(getattr(library, symbol(object_key(d, version))), ctypes.c_void_p).value for d in model_digests]
    return np.array(found, np.uint64)
