"""Native code of the `treelite_c` engine: C of tl2cgen, made bit-equal to the library, compiled once per model and kept by content.

The C is generated from the forest, so it knows one rule of comparison for all libraries. tl2cgen adds the base score last and prints leaves
as double constants, so its sums differ from the library's in the last bits. The patch begins with the base score, adds in the width of the
leaves and takes rows of float32; it takes the generated code apart line by line and refuses what it does not know, because a silent change
of the generator must not become a wrong forecast."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import io
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tl2cgen
import treelite

from tickarrow.jit._kernel import cache_home, target
from tickarrow.pipeline.errors import ModelError
from tickarrow.pipeline.forest import Forest

Progress = Callable[[str, int, int], None]

FLAGS = ("-O1", "-fPIC", "-std=c99", "-ffp-contract=off", "-fno-fast-math")
ENTRY = re.compile(r"union Entry \{\s*int missing;\s*(float|double) fvalue;\s*int qvalue;\s*\};")
HEAD = re.compile(r"void predict\(union Entry\* data, int pred_margin, (float|double)\* result\) \{")
BASE_MARK = "// Apply base_scores"
DECIMAL = r"-?[0-9.]+(?:[eE][-+]?[0-9]+)?"
LEAF = re.compile(rf"(\s*)result\[0\] \+= ({DECIMAL});")
BASE = re.compile(r"\s*result\[0\] \+= 0;")
FOUND = r"\(data\[\d+\]\.missing != -1\)"
TEST = rf"\((?:data\[\d+\]\.fvalue (<=?) \((float|double)\)({DECIMAL})|([01]))\)"
IF = re.compile(rf"\s*if \( ?(?:{FOUND} &&|!{FOUND} \|\|) {TEST}\s?\) \{{")
OTHER = re.compile(r"\s*(?:\} else \{|\}|unsigned int tmp;|)")
MOST = float(np.finfo(np.float32).max)


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


def to_treelite(forest: Forest) -> treelite.Model:
    """The forest as a treelite model with base score 0; its thresholds are the cuts."""
    make = treelite.model_builder
    width, one = forest.leaf.dtype.name, [0] * forest.n_trees
    builder = make.ModelBuilder(
        threshold_type=width, leaf_output_type=width, tree_annotation=make.TreeAnnotation(num_tree=forest.n_trees, target_id=one, class_id=one),
        metadata=make.Metadata(
            num_feature=forest.n_features, task_type="kRegressor", average_tree_output=False, num_target=1, num_class=[1], leaf_vector_shape=(1, 1)
        ),
        postprocessor=make.PostProcessorFunc(name="identity"), base_scores=[0.0],
    )  # fmt: skip
    for root in forest.root.tolist():
        builder.start_tree()
        todo = [root]
        while todo:
            node = todo.pop()
            builder.start_node(node)
            if not forest.inner[node]:
                builder.leaf(float(forest.leaf[node]))
            else:
                cut = float(forest.cut[node])
                # tl2cgen takes a comparison with infinity as decided: true of "<= inf" and "< -inf", not of "< inf"
                name, threshold = ("<=", np.inf) if np.isnan(cut) else ("<=", MOST) if cut == np.inf else ("<", cut)
                left, right = int(forest.left[node]), int(forest.right[node])
                builder.numerical_test(
                    feature_id=int(forest.feature[node]), threshold=threshold, default_left=bool(forest.default_left[node]), opname=name,
                    left_child_key=left, right_child_key=right,
                )  # fmt: skip
                todo += [right, left]
            builder.end_node()
        builder.end_tree()
    return builder.commit()


def generate(forest: Forest) -> tuple[str, str]:
    """C code of tl2cgen for one model: main.c and header.h."""
    with tempfile.TemporaryDirectory() as folder, _silence():
        tl2cgen.generate_c_code(to_treelite(forest), dirpath=folder, params={"parallel_comp": 0}, verbose=False)
        return Path(folder, "main.c").read_text(), Path(folder, "header.h").read_text()


def _constant(value: np.floating[Any]) -> str:
    """A C constant of exactly this value, in its width."""
    written = f"{value:.9g}" if value.dtype == np.float32 else f"{value:.17g}"
    written += "" if any(c in written for c in ".e") else ".0"
    return written + ("f" if value.dtype == np.float32 else "")


def patch(source: str, header: str, forest: Forest, symbol: str, name: str) -> str:
    """One C function `symbol` whose sum has the order and width of the library; ModelError where the generated code is not what it must be."""

    def refuse(what: str) -> ModelError:
        by = f"tl2cgen {tl2cgen.__version__}"
        return ModelError(f"model {name!r}: the C code of {by} is not what the patch expects: {what}. Use models=portable.")

    width = forest.leaf.dtype.type
    kind = "float" if width is np.float32 else "double"
    entry, heads = ENTRY.search(header), HEAD.findall(source)
    if entry is None or entry[1] != kind:
        raise refuse("union Entry has other members")
    if heads != [kind] or source.count(BASE_MARK) != 1:
        raise refuse("expected one predict function with one base score")
    body, tail = HEAD.split(source)[2].split(BASE_MARK)
    if BASE.match(tail) is None:
        raise refuse(f"expected the base score 0 to be added, found {tail.strip().splitlines()[0]!r}")
    lines, leaves, tests, depth = [], [], [], 0
    for line in body.rstrip().removesuffix("//").split("\n"):
        if leaf := LEAF.fullmatch(line):
            leaves.append(width(leaf[2]))
            lines.append(f"{leaf[1]}s += {_constant(leaves[-1])};")
        elif ((test := IF.fullmatch(line)) and test[2] in (kind, None)) or OTHER.fullmatch(line):
            if test:
                tests.append(cut_of(test[1], test[3], test[4]))
            if "tmp" not in line:
                lines.append(line)
            depth += line.count("{") - line.count("}")
        else:
            raise refuse(f"unknown line {line.strip()!r}")
    for what, found, wanted in (("leaves", leaves, forest.leaf[~forest.inner]), ("thresholds", tests, forest.cut[forest.inner])):
        if not np.array_equal(np.sort(np.array(found, wanted.dtype)), np.sort(wanted), equal_nan=True):
            raise refuse(f"{len(found)} {what}, expected the {wanted.size} of the model")
    if depth != 0:
        raise refuse("its brackets do not close")
    total = "s" if forest.divisor == 1 else f"s / {_constant(width(forest.divisor))}"
    return "\n".join([
        "union Entry { int missing; float fvalue; };", f"void {symbol}(const union Entry* data, int pred_margin, float* result) {{",
        f"  {kind} s = {_constant(width(forest.base))};", "  (void)pred_margin;", *lines, f"  result[0] = (float)({total});", "}", "",
    ])  # fmt: skip


def cut_of(operator: str | None, threshold: str | None, decided: str | None) -> np.float32:
    """The cut that a comparison of the generated code stands for, see `to_treelite`; NaN also for one that stands for none."""
    if threshold is None:
        return np.float32(np.nan if decided == "1" else -np.inf)
    value = np.float32(threshold)
    return value if operator == "<" else np.float32(np.inf if value == MOST else np.nan)


@functools.cache
def _code() -> str:
    """Digest of what makes C of a model."""
    here = Path(__file__).resolve().parent
    files = [here / name for name in ("compiler_native.py", "forest_read.py", "forest.py", "library.py")]
    return hashlib.blake2b(b"\0".join(f.read_bytes() for f in files), digest_size=16).hexdigest()


def object_key(model_digest: str, version: str) -> str:
    """What an object file depends on: the model, who generates, who compiles, how, and for which processor."""
    text = f"{model_digest} {treelite.__version__} {tl2cgen.__version__} {_code()} {version} {' '.join(FLAGS)} {platform.machine()} {target()}"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _run(command: Sequence[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise ModelError(f"{what} was not compiled by {command[0]}: {said[0] if said else 'no message'}. Use models=portable.")


def home() -> Path:
    """Folder of compiled models, and of the banks linked from them."""
    return cache_home() / "engines"


def build(
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
    forests : called only if something has to be compiled
    model_digests : digest of each model file
    names : of the models, for errors and progress
    """
    version = compiler_version(compiler)
    keys = [object_key(d, version) for d in model_digests]
    library = home() / f"{hashlib.blake2b(' '.join(keys).encode(), digest_size=16).hexdigest()}.so"
    if library.is_file():
        return library
    objects = home() / "objects"
    objects.mkdir(parents=True, exist_ok=True)
    wanted = {k: m for m, k in enumerate(keys) if not (objects / f"{k}.o").is_file()}
    with tempfile.TemporaryDirectory(dir=home()) as folder, ThreadPoolExecutor(max(1, jobs)) as pool:

        def compile_one(key: str, m: int) -> str:
            c, o = Path(folder, f"{key}.c"), Path(folder, f"{key}.o")
            _run([compiler, *FLAGS, "-c", str(c), "-o", str(o)], f"model {names[m]!r}")
            o.replace(objects / o.name)
            return names[m]

        pending = []
        for key, m in wanted.items():  # generation is quick and prints: one at a time, here
            code = patch(*generate(forests()[m]), forests()[m], symbol(key), names[m])
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
