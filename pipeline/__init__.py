"""Stages, Arrow tables, I/O and the runtime. Public names are loaded when they are first used, so that importing is cheap."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tickarrow.pipeline.batch import Batch, Chunk, Table
    from tickarrow.pipeline.pipeline import Pipeline
    from tickarrow.pipeline.prepare import load
    from tickarrow.pipeline.universe import Universe

__all__ = ["Batch", "Chunk", "Pipeline", "Table", "Universe", "load"]

_HOMES = {"Batch": "batch", "Chunk": "batch", "Table": "batch", "Pipeline": "pipeline", "Universe": "universe", "load": "prepare"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"tickarrow.pipeline.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'tickarrow.pipeline' has no attribute {name!r}")
