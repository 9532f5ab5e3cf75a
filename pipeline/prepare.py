"""What commands do before they start: compose the configuration, warm kernels, find or train the model set; and `load`, which does all
of it for a program that embeds the pipeline."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import pkgutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, SpinnerColumn, TextColumn, TimeElapsedColumn

import tickarrow.jit
from tickarrow.configs.features import FeaturesConf
from tickarrow.configs.pipeline import MarketConf
from tickarrow.jit import _kernel
from tickarrow.pipeline.errors import ConfigError, ModelError
from tickarrow.pipeline.features import driver_of, feature_columns, feature_digest
from tickarrow.pipeline.models import ModelSet, load_set
from tickarrow.pipeline.pipeline import Pipeline
from tickarrow.pipeline.predict_engines import open_engine
from tickarrow.pipeline.registry import Registry
from tickarrow.pipeline.swap import plan
from tickarrow.pipeline.training import default_set_path
from tickarrow.pipeline.universe import Universe


def progress_columns() -> list[ProgressColumn]:
    """The look of every progress bar."""
    return [SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()]


def output_directory() -> Path:
    """Hydra's output directory of the job, or the present folder when Hydra does not run."""
    from hydra.core.hydra_config import HydraConfig

    return Path(HydraConfig.get().runtime.output_dir) if HydraConfig.initialized() else Path.cwd()


def compose(command: str, overrides: Sequence[str] = ()) -> Any:
    """The typed configuration of a command with Hydra overrides, outside the command line."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_module
    from omegaconf import OmegaConf

    from tickarrow.configs import register

    register()
    with initialize_config_module("tickarrow.conf", version_base="1.3"):
        return OmegaConf.to_object(hydra_compose(command, list(overrides)))


def load(*overrides: str, simulate_fills: bool = False) -> Pipeline:
    """A ready pipeline for your own loop.

    Parameters
    ----------
    overrides : Hydra overrides of `tickarrow backtest`, for example `"universe.symbols=[BAC,IBM]"`, `"model_set=NAME"`, `"risk.nav=5e5"`
    simulate_fills : fill orders at the next quote of their symbol; otherwise report fills with `Pipeline.apply`

    Returns
    -------
    Pipeline; give ticks to `Pipeline.run` (a table) or `Pipeline.push` (a block of rows)

    Raises
    ------
    TickarrowError : a setting, the model set or the engine does not fit; the text says what to do
    """
    conf = compose("backtest", overrides)
    console = Console(stderr=True)
    warm_kernels(console, conf.features)
    model_set = model_set_of(conf, console)
    engine = open_engine(model_set, conf.models)
    pipeline = Pipeline(conf, Universe.from_conf(conf.universe), model_set, engine, simulate_fills=simulate_fills)
    plan(pipeline, conf.models, None)
    return pipeline


def warm_kernels(console: Console | None = None, features: FeaturesConf | None = None) -> int:
    """Compile or load every kernel, and the driver of the features, with progress, and forbid compilation from then on."""
    if features is not None:
        driver_of(features)
    for module in pkgutil.iter_modules(tickarrow.jit.__path__):
        if module.name == "points_ufunc":  # for notebooks only, see points.py
            continue
        import_module(f"tickarrow.jit.{module.name}")
    if console is not None and _kernel.not_compiled():
        _compile_in_child(console)
    return _kernel.warm()


def _compile_in_child(console: Console) -> None:
    """Compile into the cache in a process of its own: LLVM keeps some hundred MB, which would stay with a recording all week."""
    here = os.getpid()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the threads of this process are not needed there
        child = os.fork()
    if child == 0:
        try:
            _kernel.end_with(here)
            _show_warming(console)
        finally:
            os._exit(0)  # what it could not compile this process compiles, or says why not
    try:
        os.waitpid(child, 0)
    except BaseException:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise


def _show_warming(console: Console) -> None:
    with Progress(*progress_columns(), MofNCompleteColumn(), console=console, transient=True) as progress:
        bar = progress.add_task("compiling kernels (once per machine)")

        def tell(name: str, done: int, total: int) -> None:
            progress.update(bar, completed=done, total=total)

        _kernel.warm(tell)


def model_set_of(conf: MarketConf, console: Console) -> ModelSet:
    """The model set that the configuration names; the default one is trained on its generated market first if it is not there."""
    columns, digest = feature_columns(conf.features), feature_digest(conf.features)
    if conf.model_set is not None:
        return load_set(str(Registry(conf.models.registry).find(conf.model_set)), columns, digest)
    source, universe = conf.training_source, conf.training_universe
    path = default_set_path(conf.training, source, universe, conf.features)
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # jobs of one sweep start together: one trains, the others wait
        if not (path / "manifest.json").is_file():
            console.print("no default model set yet: training one (once; about a minute)")
            train_in_child(path, training=conf.training, source=source, universe=universe, features=conf.features)
    found = load_set(str(path), columns, digest)
    if found.trained_on(dataclasses.asdict(conf.source)):
        raise ConfigError("source is what the default model set was trained on. Choose another seed (source.seed=...) or another set (model_set=...).")
    return found


def train_in_child(path: Path, **confs: Any) -> None:
    """Train a model set into `path` in a process of its own, so that its memory does not stay here."""
    config = path.parent / f"{path.name}.json"
    config.write_text(json.dumps({k: dataclasses.asdict(v) for k, v in confs.items()}))
    done = subprocess.run([sys.executable, "-m", "tickarrow.pipeline.training", str(config), str(path)], stdout=subprocess.PIPE, text=True)
    config.unlink()
    if done.returncode:
        said = done.stdout.strip().splitlines()
        raise ModelError(said[-1] if said else f"training ended with code {done.returncode}; what it printed stands above.")
