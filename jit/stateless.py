"""A feature without memory, made of one function of the tick: the decorator `feature` gives a whole family of one column.

    @feature(unit="bp", formula="1e4 (a - b) / m")
    def my_spread(e):
        return 1e4 * (e.ask - e.bid) / e.mid"""

import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from tickarrow.jit._kernel import cache_home, kernel, record
from tickarrow.jit.event import EVENT
from tickarrow.jit.feature import Column, Family

NO_STATE = record([("nothing", "i8")])

# numba caches what a file holds, and no closure over another kernel: so the kernels around a function get a file of their own.
AROUND = '''"""Made for the feature {name!r} of {module!r}, see jit/stateless.py."""


@kernel("NO_STATE, EVENT, i8[:]")
def {name}_step(s, e, w):
    """Nothing is remembered."""


@kernel("NO_STATE, EVENT, i8[:], out f8[:], i8")
def {name}_emit(s, e, w, v, at):
    v[at] = point(e)
'''


@dataclass(frozen=True)
class Stateless(Family):
    """A family of one column without state."""

    point: Any = None  # the function, compiled: EVENT -> float64
    module: str = ""  # where it is written


def feature(
    unit: str, formula: str, *, version: int = 1, reference: str = "", window: str = "", warm_up: str = "", verifier: str = "", feed: str = "any"
) -> Callable[[Callable[[Any], Any]], Stateless]:
    """Make a family of the decorated function; family and column are named like it.

    Parameters
    ----------
    unit, formula, reference, window, warm_up, verifier, feed : see `Column`
    version : raise it when the formula changes

    Notes
    -----
    The function takes the EVENT `e` of the row that is due and returns a float64, NaN = missing. It is a kernel, so it calls
    kernels only: `log_point` of `tickarrow.jit.math` and not `math.log`, see CONTRIBUTING.md.
    """

    def decorate(function: Callable[[Any], Any]) -> Stateless:
        code = function.__code__
        if code.co_argcount != 1:
            raise TypeError(f"{function.__name__} takes {code.co_argcount} arguments; a feature takes one, the tick: def {function.__name__}(e)")
        name, module = function.__name__, function.__module__
        point = _declared(function)
        column = Column(name, unit, formula, reference, window, warm_up, verifier, feed)
        around, text = ModuleType(f"{module}_{name}"), AROUND.format(name=name, module=module)
        sys.modules[around.__name__] = around  # numba imports the module of a kernel that it takes from its cache
        around.__dict__.update(point=point, kernel=kernel, EVENT=EVENT, NO_STATE=NO_STATE)
        around.__file__ = str(_file(around.__name__, text))
        exec(compile(text, around.__file__, "exec"), around.__dict__)
        step, emit = getattr(around, f"{name}_step"), getattr(around, f"{name}_emit")
        return Stateless(name, version, lambda tau_s: [column], state=NO_STATE, step=step, emit=emit, point=point, module=module)

    return decorate


def _declared(function: Callable[[Any], Any]) -> Any:
    """The function as a kernel; its module need not import EVENT for that."""
    had = "EVENT" in function.__globals__
    function.__globals__.setdefault("EVENT", EVENT)
    try:
        return kernel("EVENT")(function)
    finally:
        if not had:
            del function.__globals__["EVENT"]


def _file(name: str, text: str) -> Path:
    """A source file of that text in the cache."""
    folder = cache_home() / "features"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{re.sub('[^A-Za-z0-9_]', '_', name)}.py"
    if not path.is_file() or path.read_text() != text:
        part = path.with_suffix(f".{os.getpid()}")
        part.write_text(text)
        os.replace(part, path)
    return path.resolve()
