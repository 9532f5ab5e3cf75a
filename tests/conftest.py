"""Shared by all tests: kernels are compiled once before the first test, hypothesis has no deadline (a first call may load code)."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads of xgboost that wait for each other spin: beside other work that takes minutes

import pytest
from hypothesis import HealthCheck, settings

from tickarrow.jit import _kernel

settings.register_profile("tickarrow", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tickarrow")

DATA = Path(os.environ.get("TICKARROW_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Compile the kernels of all collected modules, unless they are only listed."""
    if not session.config.option.collectonly:
        _kernel.warm()


@pytest.fixture(scope="session")
def equity_ticks() -> Path:
    """Real recorded ticks, where a developer has them."""
    path = DATA / "us_equity_ticks_dev.parquet"
    if not path.is_file():
        pytest.skip(f"recorded ticks are not here: {path.name} (TICKARROW_DATA names their folder)")
    return path
