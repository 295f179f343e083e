"""Task groups whose failure is one error again."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any

from leafsync.errors import LeafSyncError, Unreachable


@asynccontextmanager
async def task_group() -> AsyncIterator[asyncio.TaskGroup]:
    """Run an `asyncio.TaskGroup` that raises one error instead of an exception group.

    Of several, the first that is not the loss of the connection is raised: what one task finds wrong here says more
    than that the other side has gone, which the others notice at the same time.
    """
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as failed:
        raise _first_cause(failed) from None


async def outlast(futures: Collection[asyncio.Future[Any]]) -> None:
    """Wait until all of these are done, however often the caller is cancelled meanwhile; that is raised at the end.

    For what a thread works on: it cannot be stopped, and nothing may be closed under it. What the futures raise is left
    to those who look at them.
    """
    cancelled: asyncio.CancelledError | None = None
    while waiting := [future for future in futures if not future.done()]:
        try:
            await asyncio.wait(waiting)
        except asyncio.CancelledError as error:
            cancelled = error
    for future in futures:
        if not future.cancelled():
            future.exception()  # nobody else may look at it, which asyncio would complain of
    if cancelled is not None:
        raise cancelled


def _first_cause(failed: BaseExceptionGroup[BaseException]) -> BaseException:
    errors = list(_leaves(failed))
    for error in errors:
        if not isinstance(error, LeafSyncError):
            return error
    for error in errors:
        if not isinstance(error, Unreachable):
            return error
    return errors[0]


def _leaves(failed: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in failed.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
