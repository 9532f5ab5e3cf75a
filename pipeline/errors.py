"""Errors that a user can cause. Each message is one sentence or two: what, where, what was expected, what to do."""

import difflib
from collections.abc import Sequence

LISTED = 10  # names in a sentence


class TickarrowError(Exception):
    """Base of all; the command line prints its text and exits with 1."""


class ConfigError(TickarrowError):
    """A setting is missing, misspelt or out of range."""


class DataError(TickarrowError):
    """A file or table of market data is not what it must be."""


class ModelError(TickarrowError):
    """A model set is missing, damaged, or does not fit the running features."""


class GatewayError(TickarrowError):
    """A gateway refuses, is not there, or breaks off."""


class SessionError(TickarrowError):
    """A recorded session is missing, damaged, or differs from its replay."""


def near(name: str, known: Sequence[str]) -> str:
    """What to say of a name that is not there: the ones like it, or some of all."""
    by_case = {k.upper(): k for k in known}
    like = [by_case[k] for k in difflib.get_close_matches(name.upper(), list(by_case), 3, 0.6)]
    return f"Did you mean {', '.join(like)}?" if like else f"There is {listed(known)}."


def listed(names: Sequence[str]) -> str:
    """Some names, and how many more there are."""
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "") if names else "nothing"
