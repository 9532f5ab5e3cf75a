"""Peers of `roll` that are measured where they are installed; where one is not, its line says why. Not an asv module.

vectorbt: the functions behind its accessors, with its numba engine (its Rust engine takes longer for this), each series contiguous.
csp: graphs of its statistics nodes, built outside the time; in the runs that are timed a node keeps its last value only, the run that is
compared keeps them all. `arrays`: a tick is a row of all series; `scalars`: each series has nodes of its own. Neither is in the extra
`bench`: vectorbt brings forty packages, a notebook among them; csp 0.19 needs pyarrow < 24 and would replace a newer one."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np

VERSIONS = {"vectorbt": "1.", "csp": "0."}
INSTALL = {"vectorbt": "pip install vectorbt", "csp": "pip install csp, in an environment of its own: it needs pyarrow < 24"}


class Work(NamedTuple):
    """`call` is timed; `values` makes (series, values) of each output from what it returned."""

    peer: str
    name: str
    call: Callable[[], Any]
    outputs: int = 6
    values: Callable[[Any], list[Any]] = list


def why_not(peer: str) -> str:
    """Why a peer cannot be measured, or nothing."""
    try:
        importlib.import_module(peer)
        found = version(peer)
    except Exception as e:  # a package built for another numpy or numba raises all kinds
        return f"not measured: {type(e).__name__}: {' '.join(str(e).split())} ({INSTALL[peer]})"
    return "" if found.startswith(VERSIONS[peer]) else f"not measured: version {found}, expected {VERSIONS[peer]}x ({INSTALL[peer]})"


def vectorbt(x: Any, windows: tuple[int, ...]) -> list[Work]:
    """x (series, values), as for all."""
    from vectorbt.generic import dispatch as v

    a, engine = x.T, "numba"

    def call() -> list[Any]:
        z = [(a - v.rolling_mean(a, w, engine=engine)) / v.rolling_std(a, w, ddof=0, engine=engine) for w in windows]
        ends = [(v.rolling_min(a, w, engine=engine), v.rolling_max(a, w, engine=engine)) for w in windows]
        return z + [(a - low) / (high - low) for low, high in ends]

    return [Work("vectorbt", "roll,batch", call, values=lambda made: [values.T for values in made])]


def csp(x: Any, windows: tuple[int, ...]) -> list[Work]:
    import csp
    from csp import stats
    from csp.typing import NumpyNDArray

    start = np.datetime64("2026-01-05", "ns")
    at = start + np.arange(1, x.shape[1] + 1) * np.timedelta64(1, "ms")
    span = {"starttime": start.astype("M8[us]").item(), "endtime": at[-1].astype("M8[us]").item()}
    rows = list(zip(at.astype("M8[us]").tolist(), np.ascontiguousarray(x.T)))

    def put(p: Any, series: str, keep: int) -> None:
        for w in windows:
            z = (p - stats.mean(p, interval=w)) / stats.stddev(p, interval=w, ddof=0)
            low, high = stats.min(p, interval=w), stats.max(p, interval=w)
            csp.add_graph_output(f"z{w}{series}", z, tick_count=keep)
            csp.add_graph_output(f"p{w}{series}", (p - low) / (high - low), tick_count=keep)

    def arrays(keep: int) -> None:
        put(csp.curve(typ=NumpyNDArray[float], data=rows), "", keep)

    def scalars(keep: int) -> None:
        for s, values in enumerate(x):
            put(csp.curve(typ=float, data=(at, values)), f"s{s}", keep)

    def runs(form: Callable[[int], None], keep: int) -> Callable[[], Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # curves of arrays are not memoized
            graph = csp.build_graph(form, keep, **span)
        return lambda: csp.run(graph, **span, output_numpy=True)

    def of_arrays(key: str, made: Any) -> Any:
        return np.stack(made[key][1].tolist(), axis=1)

    def of_scalars(key: str, made: Any) -> Any:
        return np.stack([made[f"{key}s{s}"][1] for s in range(len(x))])

    def work(name: str, form: Callable[[int], None], output: Callable[[str, Any], Any]) -> Work:
        def values(_: Any) -> list[Any]:
            """Of a run of the same graph that keeps them all; a node has its first value when its window is full."""
            made = runs(form, -1)()
            found = [output(f"{k}{w}", made) for k in "zp" for w in windows]
            return [np.pad(v, ((0, 0), (x.shape[1] - v.shape[1], 0)), constant_values=np.nan) for v in found]

        return Work("csp", name, runs(form, 1), values=values)

    return [work("roll,graph,arrays", arrays, of_arrays), work("roll,graph,scalars", scalars, of_scalars)]


PEERS: dict[str, Callable[..., list[Work]]] = {"vectorbt": vectorbt, "csp": csp}
