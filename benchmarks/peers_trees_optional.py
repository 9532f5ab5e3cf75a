"""Peers of the forest engines that are measured where they are installed; where one is not, its line says why. Not an asv module.

onnxruntime and oneDAL take converted models; their sums have another order or width, so their margins differ in the last bits. tl2cgen: its own
C of eight models, compiled with -O1 through its Predictor; one model's code stays in the caches longer than that of eighty would, which
flatters it. ydf reads no model of another library: one model of its own of the same size, scaled. None of them is in the extra `bench`: they
are large, and nothing else here needs them."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import bench_trees
from tickarrow.jit._kernel import cache_home

if TYPE_CHECKING:
    from benchmarks.peers_trees import Peer
    from benchmarks.tree_banks import Work

MODULES = {"onnxruntime": ("onnxruntime", "onnxmltools"), "oneDAL": ("daal4py",), "tl2cgen": ("tl2cgen",), "ydf": ("ydf",)}
INSTALL = {
    "onnxruntime": "pip install onnxruntime onnxmltools", "oneDAL": "pip install scikit-learn-intelex", "tl2cgen": "a C compiler",
    "ydf": "pip install ydf",
}  # fmt: skip
PART = 10
TOLERANCE = 2e-5  # absolute; other order and width of the sums


def why_not(peer: str, work: Work) -> str:
    """Why a peer cannot be measured for a bank, or nothing."""
    try:
        for module in MODULES[peer]:
            importlib.import_module(module)
    except Exception as e:  # a package built for another numpy raises all kinds
        return f"not measured: {type(e).__name__}: {' '.join(str(e).split())} ({INSTALL[peer]})"
    if peer == "tl2cgen" and shutil.which("cc") is None:
        return "not measured: no C compiler"
    if peer in ("ydf", "tl2cgen") and work.name != "80x100x6":
        return "not measured: for the first bank only, it takes minutes to make"
    if work.library != "xgboost":
        return "not measured: lightgbm models are compared with lightgbm"
    return ""


def optional(peer: str, work: Work, model_set: Any) -> dict[str, Peer]:
    """A peer as functions of a block of rows."""
    return {"onnxruntime": onnxruntime, "oneDAL": onedal, "tl2cgen": tl2cgen, "ydf": ydf}[peer](work, model_set)


def onnxruntime(work: Work, model_set: Any) -> dict[str, Peer]:
    import onnxruntime as ort
    from onnxmltools.convert import convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    from benchmarks.peers_trees import Peer

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    given = [("x", FloatTensorType([None, work.features]))]
    sessions = []
    for model in model_set.models:
        model.booster.feature_names = None
        raw = convert_xgboost(model.booster, initial_types=given, target_opset=15).SerializeToString()
        sessions.append(ort.InferenceSession(raw, options, providers=["CPUExecutionProvider"]))
    part = PART if len(sessions) >= 80 else 1

    def call(x: Any) -> Any:
        return [s.run(None, {"x": x})[0] for s in sessions]

    def few(x: Any) -> Any:
        return [s.run(None, {"x": x})[0] for s in sessions[::part]]

    return {"onnxruntime": Peer(call, TOLERANCE, rows=(1, 100)), "onnxruntime-tenth": Peer(few, TOLERANCE, part, (10_000,))}


def onedal(work: Work, model_set: Any) -> dict[str, Peer]:
    import daal4py
    from daal4py.mb import convert_model

    from benchmarks.peers_trees import Peer

    daal4py.daalinit(1)
    converted = [convert_model(m.booster) for m in model_set.models]
    return {"oneDAL": Peer(lambda x: [m.predict(x) for m in converted], TOLERANCE)}


def tl2cgen(work: Work, model_set: Any) -> dict[str, Peer]:
    import tl2cgen as tl
    import treelite

    from benchmarks.peers_trees import Peer

    part = PART if model_set.n_models >= 80 else 1
    folder = cache_home() / "bench" / f"tl2cgen-{tl.__version__}-{model_set.digest}"
    folder.mkdir(parents=True, exist_ok=True)
    predictors = []
    for m in range(0, model_set.n_models, part):
        path = Path(folder, f"{m}.so")
        if not path.is_file():
            model = treelite.frontend.from_xgboost(model_set.models[m].booster)
            tl.export_lib(model, toolchain="gcc", libpath=str(path), params={"parallel_comp": 0}, verbose=False)
        predictors.append(tl.Predictor(str(path), nthread=1))

    def call(x: Any) -> Any:
        block = tl.DMatrix(x, dtype="float32")
        return [p.predict(block) for p in predictors]

    peers = {"tl2cgen-predictor": Peer(call, TOLERANCE, part)}
    try:
        native = bench_trees.engine(model_set, "treelite_c")
    except UserWarning:  # it does not serve here
        return peers
    y = np.zeros((10_000, model_set.n_models), np.float32)

    def raw(x: Any) -> Any:
        native.predict(x, 0, len(x), y)
        return y[: len(x)].T

    return peers | {"tl2cgen-c": Peer(raw)}


def ydf(work: Work, model_set: Any) -> dict[str, Peer]:
    import ydf as y

    from benchmarks.peers_trees import Peer

    x = bench_trees.rows(work.rows, seed=7, features=work.features)
    clean = np.nan_to_num(x)
    target = clean[:, 0] * clean[:, 1] + clean[:, 2] + np.random.default_rng(1).normal(size=len(x))
    columns = [f"f{i}" for i in range(work.features)]
    y.verbose(0)
    learner = y.GradientBoostedTreesLearner(
        label="y", task=y.Task.REGRESSION, num_trees=work.trees, max_depth=work.depth + 1, early_stopping="NONE", num_threads=1, validation_ratio=0.0
    )
    model = learner.train({**dict(zip(columns, x.T)), "y": target})
    copies = model_set.n_models
    return {"ydf-own-model": Peer(lambda rows: model.predict(dict(zip(columns, rows.T))), None, copies)}
