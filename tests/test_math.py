"""exp and log: the stated error bounds against mpmath, the edges, and the same bits with and without the compiler."""

import hashlib
import math
import os
import subprocess
import sys

import mpmath
import numpy as np
import pytest

from tickarrow.jit import math as ours

N = 4000
SMALLEST = 5e-324
pytestmark = pytest.mark.pure


def ulps(got, exact):
    """Distance of `got` from the exact value, in units of the last place of the exact value."""
    unit = max(math.ulp(float(exact)), SMALLEST)
    return float(abs(mpmath.mpf(float(got)) - exact) / unit)


def worst(points, f, exact):
    with mpmath.workprec(160):
        return max(ulps(f(float(x)), exact(mpmath.mpf(float(x)))) for x in points)


def inputs(name):
    rng = np.random.default_rng(11)
    return {
        "wide": rng.uniform(-708.0, 709.7, N),
        "near 0": rng.uniform(-1.0, 1.0, N),
        "decay": -rng.exponential(1e-3, N),
        "tiny": rng.normal(size=N) * 10.0 ** rng.uniform(-300, -10, N),
        "ties": (rng.integers(-40000, 40000, N) + 0.5) * (math.log(2) / 64),
        "denormal result": rng.uniform(-745.1, -708.4, N),
        "positive": np.ldexp(rng.uniform(0.5, 1.0, N), rng.integers(-1021, 1024, N)),
        "near 1": 1.0 + rng.normal(size=N) * 10.0 ** rng.uniform(-15, -1, N),
        "octave ends": np.concatenate([rng.uniform(0.70, 0.715, N // 2), rng.uniform(1.40, 1.43, N // 2)]),
        "denormal": rng.integers(1, 2**52, N) * SMALLEST,
    }[name]


@pytest.mark.parametrize("name", ["wide", "near 0", "decay", "tiny", "ties"])
def test_exp_is_within_0_56_ulp(name):
    assert worst(inputs(name), ours.exp_point, mpmath.exp) < 0.56


def test_exp_with_a_denormal_result_is_within_1_1_ulp():
    assert worst(inputs("denormal result"), ours.exp_point, mpmath.exp) < 1.1


@pytest.mark.parametrize("name", ["positive", "near 1", "octave ends", "denormal"])
def test_log_is_within_0_9_ulp(name):
    assert worst(inputs(name), ours.log_point, mpmath.log) < 0.9


@pytest.mark.parametrize("name", ["wide", "near 0", "decay", "tiny"])
def test_expm1_is_within_1_6_ulp(name):
    assert worst(inputs(name), ours.expm1_point, mpmath.expm1) < 1.6


def test_exp_at_its_edges():
    assert ours.exp_point(0.0) == 1.0
    assert ours.exp_point(-0.0) == 1.0
    assert ours.exp_point(SMALLEST) == 1.0
    assert ours.exp_point(1.0) == math.e
    assert ours.exp_point(math.inf) == math.inf
    assert ours.exp_point(-math.inf) == 0.0
    assert math.isnan(ours.exp_point(math.nan))
    assert ours.exp_point(float.fromhex("0x1.62e42fefa39efp+9")) == pytest.approx(sys.float_info.max, rel=1e-12)  # largest finite result
    assert ours.exp_point(float.fromhex("0x1.62e42fefa39f0p+9")) == math.inf
    assert ours.exp_point(-745.1332191019411) == SMALLEST
    assert ours.exp_point(-745.1332191019412) == 0.0  # below half of the smallest denormal
    assert ours.exp_point(1e308) == math.inf
    assert ours.exp_point(-1e308) == 0.0


def test_log_at_its_edges():
    assert ours.log_point(1.0) == 0.0
    assert ours.log_point(0.0) == -math.inf
    assert ours.log_point(-0.0) == -math.inf
    assert ours.log_point(math.inf) == math.inf
    assert math.isnan(ours.log_point(math.nan))
    assert math.isnan(ours.log_point(-SMALLEST))
    assert math.isnan(ours.log_point(-math.inf))
    assert ours.log_point(math.e) == 1.0
    assert ours.log_point(2.0) == float(mpmath.log(2))
    for x in (SMALLEST, sys.float_info.min, sys.float_info.max):
        assert ours.log_point(x) == pytest.approx(float(mpmath.log(mpmath.mpf(x))), rel=3e-16)


def test_expm1_at_its_edges():
    assert math.copysign(1.0, ours.expm1_point(-0.0)) == -1.0
    assert ours.expm1_point(SMALLEST) == SMALLEST
    assert ours.expm1_point(-math.inf) == -1.0
    assert ours.expm1_point(math.inf) == math.inf
    assert math.isnan(ours.expm1_point(math.nan))


def test_exp_is_the_power_of_two_table_at_its_nodes():
    # 2**k exactly where k ln 2 rounds well: exp(k * ln 2) = 2**k * exp(rounding of k * ln 2)
    for k in (-1000, -3, 1, 10, 1000):
        x = k * math.log(2)
        with mpmath.workprec(200):
            assert ulps(ours.exp_point(x), mpmath.exp(mpmath.mpf(x))) < 0.56


def test_the_ufuncs_are_the_point_functions():
    x = inputs("wide")[:500]
    np.testing.assert_array_equal(ours.exp(x), [ours.exp_point(v) for v in x])
    np.testing.assert_array_equal(ours.expm1(x), [ours.expm1_point(v) for v in x])
    np.testing.assert_array_equal(ours.log(np.abs(x)), [ours.log_point(abs(v)) for v in x])


DIGEST = """
import hashlib, numpy as np
from tickarrow.jit.math import exp_point, log_point, expm1_point
rng = np.random.default_rng(5)
x = np.concatenate([rng.uniform(-760, 720, 2000), rng.uniform(-1, 1, 2000)])
y = np.abs(np.concatenate([x, rng.integers(1, 2**52, 500) * 5e-324]))
out = [exp_point(float(v)) for v in x] + [expm1_point(float(v)) for v in x] + [log_point(float(v)) for v in y]
print(hashlib.blake2b(np.array(out, np.float64).tobytes()).hexdigest())
"""


def test_the_bits_are_the_same_with_the_compiler_off():
    def run(off):
        env = os.environ | {"NUMBA_DISABLE_JIT": off}
        return subprocess.run([sys.executable, "-W", "ignore", "-c", DIGEST], capture_output=True, text=True, check=True, env=env).stdout

    assert len(run("0").strip()) == 2 * hashlib.blake2b().digest_size
    assert run("0") == run("1")
