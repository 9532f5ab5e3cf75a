"""Engines out of parts: one row, blocks and batches of the bank of bench_trees.py; loading a bank; the walk over trees of any shape."""

import warnings

import numpy as np

from benchmarks import bench_trees
from benchmarks.bench_trees_exit import FEATURES, leafwise
from tickarrow.configs.models import ModelsConf
from tickarrow.jit import _kernel
from tickarrow.pipeline.forest_walk import Walk, pack
from tickarrow.pipeline.predict_engines import open_engine
from tickarrow.pipeline.predict_engines_forest import eligible


def opened(model_set, name, threads=1):
    """The engine of that name and no other."""
    if reason := eligible(name):
        raise NotImplementedError(reason)
    _kernel.warm()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return open_engine(model_set, ModelsConf(engine=name, threads=threads))


class Simd:
    """80 models x 100 trees x depth 6, another row each time; the engine portable has the same in bench_trees.py."""

    params = (1, 16, 100, 10_000)
    param_names = ("rows",)
    timeout = 600

    def setup(self, rows):
        self.engine = opened(bench_trees.bank(), "simd")
        self.x, self.y, self.at = bench_trees.rows(rows + 2_000, seed=8), np.zeros((rows, self.engine.n_models), np.float32), 0
        self.time_predict(rows)

    def time_predict(self, rows):
        at = self.at
        self.engine.predict(self.x, at, at + rows, self.y)
        self.at = (at + rows) % 2_000


class Threads:
    """10,000 rows of the same bank on one thread and on two."""

    params = ([1, 2],)
    param_names = ("threads",)
    timeout = 600

    def setup(self, threads):
        self.engine = opened(bench_trees.bank(), "simd", threads)
        self.x, self.y = bench_trees.rows(10_000, seed=8), np.zeros((10_000, self.engine.n_models), np.float32)
        self.time_predict(threads)

    def time_predict(self, threads):
        self.engine.predict(self.x, 0, 10_000, self.y)


class Load:
    """Opening an engine of 80 models whose layout and certificate are there: digest of the file, crossovers, sample of the probe rows."""

    params = (["simd", "portable"],)
    param_names = ("engine",)
    timeout = 600

    def setup(self, name):
        self.model_set = bench_trees.bank()
        opened(self.model_set, name)

    def time_open(self, name):
        opened(self.model_set, name)


class WalkTrees:
    """8 models x 100 trees of 31 and of 400 leaves, which no other kernel takes."""

    params = ([1, 100], [31, 400])
    param_names = ("rows", "leaves")

    def setup(self, rows, leaves):
        _kernel.warm()
        rng = np.random.default_rng(12)
        self.part = Walk(pack([leafwise(rng, leaves, np.dtype("float64")) for _ in range(8)], range(8)))
        self.x, self.y = rng.normal(size=(rows, FEATURES)).astype(np.float32), np.zeros((rows, 8), np.float32)
        self.time_predict(rows, leaves)

    def time_predict(self, rows, leaves):
        self.part.predict(self.x, 0, rows, self.y)
