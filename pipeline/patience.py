"""Waiting for answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def within(seconds: float | None, answer: Awaitable[T]) -> T:
    """The answer, or TimeoutError after so many seconds (None = never). Python 3.11's `wait_for` loses a Ctrl-C that comes with the answer."""
    async with asyncio.timeout(seconds):
        return await answer
