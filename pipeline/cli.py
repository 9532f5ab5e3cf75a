"""The `tickarrow` command: `tickarrow COMMAND [hydra override ...] [-m]`. A command is one root YAML in `conf` and one function.

An error that a user can cause is one sentence and exit code 1, also under `-m` and from worker processes: one wrapper around
Hydra's own entry. Anything else is a defect of ours and keeps its traceback."""

from __future__ import annotations

import dataclasses
import errno
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from importlib import import_module
from importlib.metadata import version
from typing import Any, TextIO, cast

from tickarrow.pipeline.errors import ConfigError, TickarrowError

# command -> (module with a function `main(conf)`, what it does). One of two words has its root YAML under `word_word`.
COMMANDS = {
    "run": ("tickarrow.pipeline.run", "stream a market through a gateway, decide, trade, record the session"),
    "kill": ("tickarrow.pipeline.kill", "cancel everything of a running session, refuse new orders (session=DIR flatten=true; rearm=true ends it)"),
    "record": ("tickarrow.pipeline.record", "record market data all day, decide nothing; ends with a quality report (record.until=16:05)"),
    "replay": ("tickarrow.pipeline.replay", "decide on a recorded session again and compare bit for bit (session=DIR)"),
    "explain": ("tickarrow.pipeline.explain", "why is a recorded decision what it is, step by step (session=DIR decision=SEQ); random=1000 checks many"),
    "train": ("tickarrow.pipeline.train", "train a model set on a source and save it for model_set=NAME"),
    "backtest": ("tickarrow.pipeline.backtest", "the same pipeline over a source without a gateway; -m sweeps"),
    "simulate": ("tickarrow.pipeline.simulate", "the simulated gateway by itself, for any client (port 7497; faults=flaky breaks things)"),
    "decode": ("tickarrow.pipeline.decode_file", "wire frames or a session to one Parquet row per message (path=FILE out=FILE.parquet)"),
    "fetch": ("tickarrow.pipeline.fetch", "historical ticks and bars through the gateway as Parquet files ('symbols=[AAPL]' first=2026-01-05)"),
    "import": ("tickarrow.pipeline.source_import", "ticks of Lean, LOBSTER or Databento as one Parquet file (source=lean source.path=DIR out=FILE.parquet)"),
    "market": ("tickarrow.pipeline.market_report", "facts of the generated market beside those of recorded ticks (real=FILE.parquet)"),
    "features cache": ("tickarrow.pipeline.features_cache", "features computed for research, by what they were computed from (clear=true removes them)"),
    "session check": ("tickarrow.pipeline.session_check", "is a session whole, and how good is it; recover a killed one (session=DIR repair=true)"),
    "session export": (
        "tickarrow.pipeline.session_export", "messages, trades, quotes, depth, bars, greeks, control as Parquet by date and symbol (session=DIR out=DIR)"
    ),
    "features list": ("tickarrow.pipeline.features_show", "every column of the features: family, unit, window, feed, reference (features=NAME)"),
    "features describe": ("tickarrow.pipeline.features_show", "one column or family: formula, window, warm-up, reference (features describe NAME)"),
    "features check": ("tickarrow.pipeline.features_check", "does a column or label know the future (features.files=[my_features.py] path=TICKS.parquet)"),
    "verify": ("tickarrow.pipeline.verify", "does every engine give the bits of the library, on probe rows of a model set (model_set=NAME engine=simd)"),
    "doctor latency": ("tickarrow.pipeline.doctor", "what this machine and the loop can do: wake-up, cold and warm forest, tick to decision"),
    "models list": ("tickarrow.pipeline.registry_show", "model sets of the registry, and which one is promoted"),
    "models show": ("tickarrow.pipeline.registry_show", "one model set: models, training data, metrics, certificates (models show NAME)"),
    "models promote": ("tickarrow.pipeline.registry_show", "make a set the one that model_set=promoted names and that runs swap to (models promote NAME)"),
    "models rollback": ("tickarrow.pipeline.registry_show", "promote the set that was promoted before"),
    "models diff": ("tickarrow.pipeline.registry_diff", "how two sets differ, also in what they predict (models diff A B path=TICKS.parquet)"),
    "session compact": ("tickarrow.pipeline.session", "the tables of a session as Parquet files (session=DIR)"),
}

# command -> the settings that its first words without = stand for
WORDS = {"features describe": ("name",), "models show": ("name",), "models promote": ("name",), "models diff": ("a", "b")}

# A disk or a folder that cannot take what is written: the user's to change.
NOT_WRITTEN = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG,
}  # fmt: skip

EXAMPLES = """\
examples:
  tickarrow run
  tickarrow run source=parquet source.path=ticks.parquet 'source.symbols=[BAC,IBM]' source.day=2013-10-08 model_set=NAME
  tickarrow replay session=outputs/run/.../session
  tickarrow backtest -m risk.hurdle=1,2,4
  tickarrow run --cfg job           show the whole configuration
"""


def usage() -> str:
    rows = "\n".join(f"  {name:19}{text}" for name, (_, text) in COMMANDS.items())
    return f"usage: tickarrow COMMAND [key=value ...] [-m]\n\ncommands:\n{rows}\n\n{EXAMPLES}"


def task(cfg: Any) -> Any:
    """What Hydra calls, here or in a worker process: the command's function with typed configuration."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    OmegaConf.resolve(cfg)
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise ConfigError(f"{missing[0]} is not set. Give it on the command line: {missing[0]}=VALUE")
    for key in unknown_keys(cfg):
        raise ConfigError(f"there is no setting {key}. See all of them: tickarrow {HydraConfig.get().job.name.replace('_', ' ')} --help")
    module, _ = COMMANDS[HydraConfig.get().job.name.replace("_", " ")]
    function: Callable[[Any], Any] = import_module(module).main
    return function(OmegaConf.to_object(cfg))


def unknown_keys(cfg: Any, prefix: str = "") -> Iterator[str]:
    """Settings that `+key=value` added although no dataclass has them; a misspelt one would be ignored."""
    from omegaconf import DictConfig, OmegaConf

    schema = OmegaConf.get_type(cfg)
    assert schema is not None
    known = {f.name for f in dataclasses.fields(schema)}
    for key in cfg:
        if key not in known:
            yield f"{prefix}{key}"
        elif isinstance(cfg[key], DictConfig) and dataclasses.is_dataclass(OmegaConf.get_type(cfg, key)):
            yield from unknown_keys(cfg[key], f"{prefix}{key}.")


def one_sentence(e: BaseException) -> str | None:
    """What to tell the user, or None if the error is not the user's."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(e, TickarrowError):
        return str(e)
    if isinstance(e, HydraException | OmegaConfBaseException):
        cause = e.__cause__ if isinstance(e.__cause__, OmegaConfBaseException) else None
        lines = [line.strip() for x in (e, cause) if x is not None for line in str(x).splitlines()]
        internal = ("full_key:", "object_type=", "reference_type=", "See https", "Available options")
        said = [line for line in lines if line and not line.startswith(internal)]
        keys = [line.removeprefix("full_key:").strip() for line in lines if line.startswith("full_key:")]
        where = f" (key {keys[-1]})" if keys and keys[-1] else ""
        return f"configuration: {' '.join(dict.fromkeys(said))}{where}. See: tickarrow COMMAND --cfg job"
    if isinstance(e, OSError) and e.errno in NOT_WRITTEN:
        where = f"{e.filename}: " if e.filename else ""
        return f"{where}{e.strerror}. Make room, or choose a folder that can be written (hydra.run.dir=FOLDER, record.path=FOLDER)."
    return None


def main(argv: list[str] | None = None) -> None:
    """Entry point of the console script."""
    args = sys.argv[1:] if argv is None else argv
    if not args or args[0] in ("-h", "--help", "help"):
        print(usage(), end="")
        raise SystemExit(0 if args else 1)
    if args[0] in ("-V", "--version"):
        print(f"tickarrow {version('tickarrow')}")
        raise SystemExit(0)
    words = 2 if any(c.startswith(f"{args[0]} ") for c in COMMANDS) else 1
    command, overrides = " ".join(args[:words]), args[words:]
    if words == 2 and args[1:2] and args[1] in ("-h", "--help", "help"):
        print("".join(line for line in usage().splitlines(True) if line.split()[:1] == [args[0]]), end="")
        raise SystemExit(0)
    if command not in COMMANDS:
        print(f"tickarrow: unknown command {command!r}. Commands: {', '.join(COMMANDS)}. See: tickarrow --help", file=sys.stderr)
        raise SystemExit(1)
    if overrides and overrides[0] in ("-h", "--help"):
        print(f"tickarrow {command}: {COMMANDS[command][1]}\n\nSettings and their present values (override any with key=value):\n", flush=True)
        overrides = ["--cfg", "job", *overrides[1:]]
    for i, setting in enumerate(WORDS.get(command, ())):
        if i >= len(overrides) or "=" in overrides[i] or overrides[i].startswith("-"):
            break
        overrides[i] = f"{setting}={overrides[i]}"
    raise SystemExit(_hydra(command, overrides))


class WithoutHydra:
    """Standard error without the line that Hydra puts above an error of ours: the user gets one sentence."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return len(text) if text.startswith("Error executing job with overrides:") else self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def show_warning(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    """A warning of ours is one line on stderr, as an error is."""
    print(f"tickarrow: warning: {message}", file=sys.stderr)


def _hydra(command: str, overrides: list[str]) -> int:
    import hydra

    from tickarrow.configs import register

    register()
    root = command.replace(" ", "_")
    warnings.showwarning = show_warning
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach us instead of Hydra's own report
    # Hydra's parser takes overrides in one run only: flags first, wherever the user put them.
    given = [o for o in overrides if o[:1] in "+~" or ("=" in o and not o.startswith("-"))]
    flags = [o for o in overrides if o not in given]
    sys.argv = ["tickarrow", *flags, *given, f"hydra.job.name={root}"]
    try:
        with redirect_stderr(cast(TextIO, WithoutHydra(sys.stderr))):
            hydra.main(version_base="1.3", config_path="pkg://tickarrow.conf", config_name=root)(task)()
    except KeyboardInterrupt:
        print("tickarrow: interrupted", file=sys.stderr)
        return 130
    except Exception as e:
        text = one_sentence(e)
        if text is None:
            raise
        print(f"tickarrow: {text}", file=sys.stderr)
        return 1
    return 0
