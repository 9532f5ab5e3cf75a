"""What a training has done so far, so that one that was killed goes on where it stopped.

A part is a file named by all that decides its bits: data, rows, settings, versions. It is there whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tickarrow.pipeline.library import LoadedModel, load, wrap


class Parts:
    """Parts in a folder; without a folder nothing is kept."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.found = 0  # parts that an earlier training had left
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def arrays(self, key: str, make: Callable[[], dict[str, npt.NDArray[Any]]]) -> dict[str, npt.NDArray[Any]]:
        """Arrays of a part, made if they are not there."""
        if self.folder is None:
            return make()
        path = self.folder / f"{key}.npz"
        if path.is_file():
            with np.load(path) as file:
                self.found += 1
                return dict(file)
        made = make()
        temporary = self.folder / f"{os.getpid()}-{key}"
        with temporary.open("wb") as out:
            np.savez(out, **made)  # type: ignore[arg-type]
        temporary.replace(path)
        return made

    def model(self, key: str, make: Callable[[], Any]) -> LoadedModel:
        """A model in its library, in a file as it saves them, made if it is not there."""
        if self.folder is None:
            return wrap(make())
        for path in self.folder.glob(f"{key}.*"):
            self.found += 1
            return load(path)
        made = wrap(make())
        temporary = made.save(self.folder / f"{os.getpid()}-{key}")
        temporary.replace(self.folder / f"{key}{temporary.suffix}")
        return made

    def remove(self) -> None:
        """The whole is done."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def key_of(*said: Any) -> str:
    """Name of what is decided by these: arrays by their bytes, the rest as JSON."""
    h = hashlib.blake2b(digest_size=16)
    for part in said:
        if isinstance(part, np.ndarray):
            h.update(f"{part.dtype} {part.shape}".encode() + np.ascontiguousarray(part).tobytes())
        else:
            h.update(json.dumps(part, sort_keys=True).encode())
        h.update(b"\0")
    return h.hexdigest()
