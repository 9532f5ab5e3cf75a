"""Stages, Arrow tables, I/O and the runtime."""
