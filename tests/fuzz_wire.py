"""Coverage-guided differential fuzzing: `python tests/fuzz_wire.py -max_total_time=600` (extra `fuzz`, atheris).

Coverage comes from the reference, which is Python and is instrumented; every input that reaches a new branch of it is compared with the
kernel, which is not. A difference or a crash ends the run and leaves the input in a file."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["naive_wire", "naive_frames"]):
    import naive_frames  # noqa: F401  instrumented here, used by mutate_wire
    import naive_wire as naive

from mutate_wire import GOOD, compare

from tickarrow.jit import _kernel

VERSIONS = (157, 163, 166, 178)


def one(data: bytes) -> None:
    """First byte: version and how the rest is meant, as a raw stream, or as payloads between bytes 0xFF, each with its right length."""
    if len(data) < 2:
        return
    stream = data[1:]
    if data[0] & 4:
        stream = b"".join(len(p).to_bytes(4, "big") + p for p in stream.split(b"\xff") if len(p) > 1)
    compare(stream + GOOD, VERSIONS[data[0] & 3])


def seeds(folder: str) -> None:
    """A message of every kind to begin with."""
    from pathlib import Path

    from test_wire import mixed

    kinds = {f[4:].split(b"\0")[0]: f for f in mixed(3_000, seed=4)}
    for k, f in enumerate(kinds.values()):
        Path(folder, f"seed-{k}").write_bytes(b"\x07" + f[4:] + b"\xff" + naive.frame(2, 6, 7, 8, 5)[4:])
        Path(folder, f"raw-{k}").write_bytes(b"\x03" + f)


if __name__ == "__main__":
    import tempfile

    _kernel.warm()
    corpus = tempfile.mkdtemp(prefix="fuzz-wire-")
    seeds(corpus)
    atheris.Setup([*sys.argv, corpus, "-max_len=600"], one)
    atheris.Fuzz()
