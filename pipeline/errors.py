"""Errors that a user can cause. Each message is one sentence or two: what, where, what was expected, what to do."""


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
