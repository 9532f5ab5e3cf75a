"""Model sets that predict the same rows as the deciding one and decide nothing: how far they are from it, and what they cost.

`take` copies rows into a ring after the decision; `work` predicts them. In a run a thread works (engines release the interpreter's
lock) and rows that come faster than it works are counted as missed; in a backtest a full ring is worked off at once."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tickarrow.pipeline.batch import Batch
from tickarrow.pipeline.models import ModelSet
from tickarrow.pipeline.predict import Served

RING = 4096  # rows
BLOCK = 512  # rows predicted in one call
LOOK_S = 0.005  # between two looks of the thread
ALL = "all"  # the mean over a set's configurations, which sets of any configurations have


class Disagreement:
    """How far the predictions of one set are from those of another, by model of the same name and by the mean of all at each horizon.

    Parameters
    ----------
    a, b : sets of the same horizons
    """

    def __init__(self, a: ModelSet, b: ModelSet) -> None:
        self.a, self.b, n = a, b, a.horizons_ns.size
        common = [c for c in a.configurations if c in b.configurations]
        self.names = [(c, h) for c in [*common, ALL] for h in range(n)]
        self._of_a = np.array([a.configurations.index(c) * n + h for c in common for h in range(n)], np.int64)
        self._of_b = np.array([b.configurations.index(c) * n + h for c in common for h in range(n)], np.int64)
        self.rows, self.largest, self.total, self.same = (np.zeros(len(self.names)) for _ in range(4))
        self.mean, self.squares = np.zeros((2, len(self.names))), np.zeros((3, len(self.names)))  # centred sums aa, bb, ab

    def _columns(self, y: npt.NDArray[np.float32], of: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        wide = y.astype(np.float64)
        return np.concatenate([wide[:, of], wide.reshape(len(y), -1, self.a.horizons_ns.size).mean(axis=1)], axis=1)

    def add(self, y_a: npt.NDArray[np.float32], y_b: npt.NDArray[np.float32]) -> None:
        """Add rows: (n, n_models) predictions of each set. Pairs with a missing value are skipped."""
        a, b = self._columns(y_a, self._of_a), self._columns(y_b, self._of_b)
        good = np.isfinite(a) & np.isfinite(b)
        a, b = np.where(good, a, 0.0), np.where(good, b, 0.0)
        count, apart = good.sum(axis=0).astype(np.float64), np.abs(a - b)
        self.largest = np.maximum(self.largest, apart.max(axis=0, initial=0.0))
        self.total += apart.sum(axis=0)
        self.same += ((np.sign(a) == np.sign(b)) & good).sum(axis=0)
        # Means and centred sums of the block join those before it (Chan, Golub and LeVeque 1983).
        means = np.stack([a.sum(axis=0), b.sum(axis=0)]) / np.maximum(count, 1.0)
        da, db = np.where(good, a - means[0], 0.0), np.where(good, b - means[1], 0.0)
        joined = np.maximum(self.rows + count, 1.0)
        apart_means = means - self.mean
        weight = self.rows * count / joined
        self.squares += np.stack([(da * da).sum(axis=0), (db * db).sum(axis=0), (da * db).sum(axis=0)])
        self.squares += weight * np.stack([apart_means[0] ** 2, apart_means[1] ** 2, apart_means[0] * apart_means[1]])
        self.mean += apart_means * count / joined
        self.rows += count

    def table(self) -> list[dict[str, Any]]:
        """One record a pair: largest and mean |difference| in the unit of the forecast, correlation, share of rows with the same sign; None = not defined."""
        out = []
        for k, (configuration, h) in enumerate(self.names):
            n, (aa, bb, ab) = self.rows[k], self.squares[:, k]
            defined = n > 0 and aa > 1e-18 * n and bb > 1e-18 * n
            out.append({
                "configuration": configuration, "horizon_s": float(self.a.horizons_ns[h] / 1e9), "rows": int(n),
                "max_abs": float(self.largest[k]) if n else None, "mean_abs": float(self.total[k] / n) if n else None,
                "correlation": float(np.clip(ab / np.sqrt(aa * bb), -1.0, 1.0)) if defined else None,
                "sign_agreement": float(self.same[k] / n) if n else None,
            })  # fmt: skip
        return out


class Period:
    """Rows taken while one set decided: a ring, and what came of them."""

    def __init__(self, live: ModelSet, shadow: ModelSet) -> None:
        self.live = live
        self.x = np.zeros((RING, len(live.columns)), np.float32)
        self.y = np.zeros((RING, live.n_models), np.float32)
        self.head = self.tail = 0  # rows taken, rows worked off; each written by one side only
        self.missed = 0
        self.found = Disagreement(live, shadow)


class Shadow:
    """One set in the shadow.

    Parameters
    ----------
    served : the set
    live : the set that decides
    beside : a thread works; otherwise `take` does when the ring is full
    """

    def __init__(self, served: Served, live: ModelSet, beside: bool) -> None:
        self.served, self.beside = served, beside
        self.cost_ns = self.worked = 0
        self.paused = False  # rows are not taken, and counted as missed
        self._y = np.zeros((BLOCK, served.model_set.n_models), np.float32)
        self.periods = [Period(live, served.model_set)]
        self._now = self.periods[0]
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def against(self, live: ModelSet) -> None:
        """Another set decides from now on."""
        if live is not self._now.live:
            self.periods.append(Period(live, self.served.model_set))
            self._now = self.periods[-1]

    def take(self, features: Batch, predictions: Batch) -> None:
        """Rows that were decided on and what the deciding set predicted for them."""
        p, lo, n = self._now, 0, len(features)
        if self.paused:
            p.missed += n
            return
        while lo < n:
            at = p.head % RING
            m = min(n - lo, RING - at, RING - (p.head - p.tail))
            if m == 0:
                if self.beside:
                    p.missed += n - lo
                    return
                self.work()
                continue
            p.x[at : at + m] = features.x[features.lo + lo : features.lo + lo + m]
            p.y[at : at + m] = predictions.y[predictions.lo + lo : predictions.lo + lo + m]
            p.head += m
            lo += m

    def work(self) -> None:
        """Predict all rows that are taken."""
        for p in list(self.periods):
            while p.tail < p.head:
                at = p.tail % RING
                m = min(p.head - p.tail, RING - at, BLOCK)
                started = time.thread_time_ns()
                self.served.predict(p.x, at, at + m, self._y)
                self.cost_ns += time.thread_time_ns() - started
                p.found.add(p.y[at : at + m], self._y[:m])
                p.tail += m
                self.worked += m

    def start(self) -> None:
        """Work beside the loop from now on."""
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(LOOK_S):
            self.work()

    def stop(self) -> None:
        """Work off the rest and end."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self.work()

    def summary(self) -> dict[str, Any]:
        """What it was, cost and disagreement: of each deciding set the mean over its configurations, by horizon."""
        s = self.served
        return {
            "name": s.model_set.name, "path": str(s.model_set.path), "digest": s.model_set.digest, "engine": s.engine.name, "rows": self.worked,
            "missed": sum(p.missed for p in self.periods), "ns_per_row": round(self.cost_ns / self.worked) if self.worked else None,
            "against": [
                {"name": p.live.name, "digest": p.live.digest, "horizons": [r for r in p.found.table() if r["configuration"] == ALL]}
                for p in self.periods if p.tail
            ],
        }  # fmt: skip


def write(shadows: list[Shadow], folder: Path) -> list[dict[str, Any]]:
    """`shadow.json` and, with a row for each model, `shadow.parquet`; the summaries. Nothing without a shadow."""
    said = [s.summary() for s in shadows]
    if said:
        (folder / "shadow.json").write_text(json.dumps(said, indent=1) + "\n")
        rows = [{"set": s.served.model_set.name, "against": p.live.name} | r for s in shadows for p in s.periods for r in p.found.table()]
        pq.write_table(pa.Table.from_pylist(rows), folder / "shadow.parquet")
    return said
