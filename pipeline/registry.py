"""The registry of model sets: a folder with one folder a set, and a pointer that says which of them is promoted.

`promoted.json` is the whole record of the last promotion and is replaced as a whole, so a reader sees the one before or the one after.
`history.jsonl` has a line for each promotion and is only ever appended to; a line that a killed process did not write is written by the
next one from the pointer. Writers hold a lock on `promotions.lock`, which ends with their process."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tickarrow.jit._kernel import cache_home
from tickarrow.pipeline.errors import ModelError
from tickarrow.pipeline.models import MANIFEST, ModelSet, check_files, read_set, resolve

PROMOTED = "promoted"  # the name that stands for the promoted set
POINTER, HISTORY, LOCK = "promoted.json", "history.jsonl", "promotions.lock"


@dataclass(frozen=True)
class Promotion:
    """One promotion or rollback."""

    number: int  # 1, 2, ...
    name: str  # of the set that is promoted since
    digest: str
    at_ns: int  # ns UTC
    action: str  # promote, rollback
    before: str  # name of the set that was promoted until then; empty = none


class Registry:
    """A folder of model sets.

    Parameters
    ----------
    folder : empty = models/ in the cache folder
    """

    def __init__(self, folder: str | Path = "") -> None:
        self.folder = Path(folder) if str(folder) else cache_home() / "models"

    def names(self) -> list[str]:
        """Every set that is there, also damaged ones."""
        return sorted(p.parent.name for p in self.folder.glob(f"*/{MANIFEST}"))

    def read(self, name: str) -> ModelSet:
        """A set of this folder without a look into its model files; ModelError if there is none of this name or its manifest is damaged."""
        if name == PROMOTED:
            name = self.current().name
        if Path(name).name != name:
            raise ModelError(f"{name!r} is a path. Name a set of {self.folder} (tickarrow models list), or another folder of sets (models.registry=DIR).")
        return read_set(resolve(name, self.folder, paths=False))

    def find(self, name_or_path: str) -> Path:
        """Folder of a set: a path, a name in this folder, or `promoted`, which must still be the set that was promoted."""
        if name_or_path != PROMOTED:
            return resolve(name_or_path, self.folder)
        now = self.current()
        found = read_set(resolve(now.name, self.folder, paths=False))
        if found.digest != now.digest:
            raise ModelError(
                f"model set {now.name!r} is not the one that was promoted: its digest is {found.digest}, promoted was {now.digest}. "
                f"Promote it anew (tickarrow models promote {now.name}) or roll back (tickarrow models rollback)."
            )
        return found.path

    def by_digest(self, digest: str) -> Path | None:
        """Folder of the set with this digest, whatever its name is now."""
        for name in self.names():
            try:
                if read_set(self.folder / name).digest == digest:
                    return self.folder / name
            except ModelError:
                continue
        return None

    def promoted(self) -> Promotion | None:
        """The last promotion; None before the first."""
        path = self.folder / POINTER
        try:
            return Promotion(**json.loads(path.read_text()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as e:
            raise ModelError(f"{path} cannot be read ({type(e).__name__}: {e}). Remove it and promote a set anew (tickarrow models promote NAME).") from None

    def current(self) -> Promotion:
        """The last promotion; ModelError before the first."""
        now = self.promoted()
        if now is None:
            there = ", ".join(self.names()) or "none"
            raise ModelError(f"no model set of {self.folder} is promoted. Promote one: tickarrow models promote NAME (there: {there}).")
        return now

    def history(self) -> list[Promotion]:
        """All promotions, the first one first."""
        records = {r.number: r for r in self._lines()}
        now = self.promoted()
        if now is not None:
            records[now.number] = now  # a killed process may have left it out
        return [records[n] for n in sorted(records)]

    def promote(self, name: str) -> Promotion:
        """Make a set the promoted one; ModelError if it is not there or damaged. Promoting it once more changes nothing."""
        found = self.read(name)
        check_files(found)
        with self._locked():
            now = self.promoted()
            if now is not None and (now.name, now.digest) == (found.name, found.digest):
                return now
            return self._write("promote", found, now)

    def rollback(self) -> Promotion:
        """Promote the set that was promoted before; once more: the one before that."""
        with self._locked():
            now, standing = self.current(), stack(self.history())
            if len(standing) < 2:
                first = f"{now.name!r} is the first one of {self.folder}"
                raise ModelError(f"there is no promotion to go back to: {first}. Promote another: tickarrow models promote NAME.")
            before = standing[-2]
            found = self.read(before.name)
            if found.digest != before.digest:
                raise ModelError(
                    f"model set {before.name!r} is not the one that was promoted: its digest is {found.digest}, promoted was {before.digest}. "
                    "Restore its folder or promote another (tickarrow models promote NAME)."
                )
            check_files(found)
            return self._write("rollback", found, now)

    def _write(self, action: str, found: ModelSet, now: Promotion | None) -> Promotion:
        self._append(self.history())
        record = Promotion(now.number + 1 if now else 1, found.name, found.digest, time.time_ns(), action, now.name if now else "")
        part = self.folder / f"{POINTER}.part"
        with part.open("w") as f:
            f.write(json.dumps(asdict(record)) + "\n")
            f.flush()
            os.fsync(f.fileno())
        os.replace(part, self.folder / POINTER)
        self._append([record])
        return record

    def _append(self, records: list[Promotion]) -> None:
        """Lines that the history does not have yet."""
        there = {r.number for r in self._lines()}
        text = "".join(json.dumps(asdict(r)) + "\n" for r in records if r.number not in there)
        if not text:
            return
        with (self.folder / HISTORY).open("ab+") as f:
            if f.tell():
                f.seek(-1, os.SEEK_END)
                text = text if f.read(1) == b"\n" else f"\n{text}"  # a killed process tore the last line
            f.write(text.encode())
            f.flush()
            os.fsync(f.fileno())

    def _lines(self) -> Iterator[Promotion]:
        try:
            text = (self.folder / HISTORY).read_text(errors="replace")
        except FileNotFoundError:
            return
        for line in text.splitlines():
            try:
                yield Promotion(**json.loads(line))
            except (ValueError, TypeError):  # torn; the pointer had it
                continue

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def stack(history: list[Promotion]) -> list[Promotion]:
    """Promotions that a rollback can go back through, the present one last: a rollback takes the last one off."""
    standing: list[Promotion] = []
    for record in history:
        if record.action == "rollback" and len(standing) > 1:
            standing.pop()
        else:
            standing.append(record)
    return standing


def trained_text(manifest: dict[str, Any]) -> str:
    """What a set was trained on, in words: kind of source, file or seed, day, rows."""
    training = manifest.get("training") or {}
    source = training.get("source") or {}
    kind = str(source.get("kind", "")) or "not said"
    parts = [kind] + ([f"seed {source['seed']}"] if kind == "generated" and "seed" in source else [])
    parts += [str(source[k]) for k in ("path", "day") if source.get(k)]
    parts += [",".join(source["symbols"])] if source.get("symbols") else []
    return " ".join(parts) + (f", {training['rows']:,} rows" if "rows" in training else "")
