"""A run that follows the registry: a thread looks at the promotion pointer, prepares what is promoted and offers the swap to the loop.

`python -m tickarrow.pipeline.swap_follow SET CONFIG.json` is the whole check of a set in a process of its own: files, layout and
certificate, so that little is left to do beside the loop. An error that the user can cause is the last line of its standard output."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tickarrow.configs.features import FeaturesConf
from tickarrow.configs.models import ModelsConf
from tickarrow.pipeline.decide import Control
from tickarrow.pipeline.errors import ConfigError, ModelError, TickarrowError
from tickarrow.pipeline.registry import PROMOTED, Registry
from tickarrow.pipeline.schemas import ControlKind
from tickarrow.pipeline.session import Session
from tickarrow.pipeline.swap import listed_sets, open_set

if TYPE_CHECKING:
    from tickarrow.pipeline.pipeline import Pipeline


class Follow:
    """Swaps a running pipeline to what is promoted.

    Parameters
    ----------
    pipeline : runs in another thread
    session : its manifest lists a set before the swap to it is journalled
    """

    def __init__(self, pipeline: Pipeline, session: Session) -> None:
        self.pipeline, self.session, self.conf = pipeline, session, pipeline.conf.models
        if not self.conf.follow_s > 0:
            raise ConfigError(f"models.follow_s is {self.conf.follow_s}: expected a positive number of seconds. Correct it on the command line.")
        self.registry = Registry(self.conf.registry)
        self._known = self._number()
        self._last = pipeline.predict.present  # set that was offered last
        self._stop = threading.Event()
        self._child: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._run, name="follow", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End; a set that is being prepared is let go."""
        self._stop.set()
        if (child := self._child) is not None:
            child.kill()
        if self._thread.ident is not None:
            self._thread.join()

    def _number(self) -> int:
        now = self.registry.promoted()
        return now.number if now is not None else 0

    def _run(self) -> None:
        while not self._stop.wait(self.conf.follow_s):
            try:
                number = self._number()
                if number == self._known:
                    continue
                self._known = number
                self._swap(self.registry.current().name)
            except TickarrowError as e:
                if not self._stop.is_set():
                    self._refuse(str(e))
            except OSError as e:
                self._refuse(f"model set: {e.filename or self.registry.folder}: {e.strerror}. Make room or correct the rights, then promote it anew.")

    def _swap(self, name: str) -> None:
        self._check_in_child(self.registry.find(PROMOTED))
        index = open_set(self.pipeline, PROMOTED, self.conf)
        if index == (self._last if self.pipeline.swaps.offered else self.pipeline.predict.present):
            return
        self.session.manifest["model_sets"] = listed_sets(self.pipeline)
        self.session.write_manifest()
        self.pipeline.swaps.offer(Control(kind=ControlKind.MODEL_SWAP, symbol=-1, value=float(index)))
        self._last = index
        tell(f"model set {name!r} is promoted, checked and loaded: it decides from the next chunk on")

    def _refuse(self, why: str) -> None:
        """The session goes on with the set that decides; a note in the manifest and its place among the chunks say so."""
        notes = self.session.manifest.setdefault("notes", [])
        notes.append(why)
        self.session.write_manifest()
        self.pipeline.swaps.offer(Control(kind=ControlKind.MODEL_REFUSED, symbol=-1, value=float(len(notes) - 1)))
        tell(f"what is promoted is not used, {self.pipeline.model_set.name!r} goes on: {why}")

    def _check_in_child(self, path: Path) -> None:
        confs = {"models": dataclasses.asdict(self.conf), "features": dataclasses.asdict(self.pipeline.conf.features)}
        command = [sys.executable, "-m", "tickarrow.pipeline.swap_follow", str(path), json.dumps(confs)]
        self._child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        said, _ = self._child.communicate()
        code, self._child = self._child.returncode, None
        if code:
            lines = said.strip().splitlines()
            raise ModelError(lines[-1] if lines else f"model set {path.name!r}: its check ended with code {code}; what it printed stands above.")


def tell(text: str) -> None:
    """One line for the user; the same line twice is two events."""
    warnings.warn_explicit(text, UserWarning, "swap_follow.py", 1)


def main(arguments: Sequence[str], show: Callable[[str], None] = print) -> int:
    """Entry of the child process; 1 and a last line on standard output if the set does not fit or no engine serves it."""
    from omegaconf import OmegaConf

    from tickarrow.pipeline.features import feature_columns, feature_digest
    from tickarrow.pipeline.models import load_set
    from tickarrow.pipeline.predict_engines import open_engine
    from tickarrow.pipeline.prepare import warm_kernels

    types: dict[str, Any] = {"models": ModelsConf, "features": FeaturesConf}
    given = json.loads(arguments[1])
    confs: dict[str, Any] = {k: OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(t), given[k])) for k, t in types.items()}
    try:
        found = load_set(arguments[0], feature_columns(confs["features"]), feature_digest(confs["features"]))
        warm_kernels(features=confs["features"])
        with warnings.catch_warnings():  # the run that loads the set tells
            warnings.simplefilter("ignore")
            open_engine(found, confs["models"])
    except TickarrowError as e:
        show(str(e))
        return 1
    return 0


if __name__ == "__main__":
    os.nice(10)  # the loop goes first
    sys.exit(main(sys.argv[1:]))
