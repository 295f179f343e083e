"""Task groups whose failure is one error again."""

import asyncio

import pytest

from leafsync.engine.sync.tasks import outlast, task_group
from leafsync.errors import ConnectionLost, DiskFull, PeerClosed, RootMismatch

LOST = ConnectionLost(peer="p", reason="r")
CLOSED = PeerClosed(peer="p", reason="r")
FULL = DiskFull(path="a")
WRONG = RootMismatch(path="a", peer="p")


async def fail(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("errors", "raised"),
    [
        ([LOST], LOST),
        ([LOST, FULL], FULL),
        ([FULL, LOST], FULL),
        ([LOST, CLOSED], LOST),
        ([WRONG, FULL], WRONG),
        ([LOST, WRONG, ZeroDivisionError()], ZeroDivisionError),
    ],
)
async def test_the_first_cause_is_raised(errors: list[Exception], raised: Exception | type[Exception]) -> None:
    """The loss of the connection is what the others notice of it, and a bug is never hidden behind either."""

    async def run() -> None:
        async with task_group() as tasks:
            for error in errors:
                tasks.create_task(fail(error))

    with pytest.raises(raised if isinstance(raised, type) else type(raised)) as caught:
        await run()
    assert isinstance(raised, type) or caught.value is raised


async def test_groups_inside_groups() -> None:
    async def run() -> None:
        async with task_group() as outer:
            outer.create_task(fail(LOST))
            async with asyncio.TaskGroup() as inner:
                inner.create_task(fail(FULL))

    with pytest.raises(DiskFull):
        await run()


async def test_results_come_through() -> None:
    async with task_group() as tasks:
        task = tasks.create_task(asyncio.sleep(0, "done"))
    assert task.result() == "done"


async def test_a_cancelled_group_is_cancelled() -> None:
    async def wait() -> None:
        async with task_group() as tasks:
            tasks.create_task(asyncio.sleep(60))

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_what_is_outlasted_ends_first_however_often_the_caller_is_cancelled() -> None:
    loop = asyncio.get_running_loop()
    futures = [loop.create_future() for _number in range(3)]
    waiting = asyncio.create_task(outlast(futures))
    for future in futures:
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not waiting.done()
        future.set_result(None)
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_what_is_outlasted_raises_nothing_there() -> None:
    loop = asyncio.get_running_loop()
    failed, cancelled = loop.create_future(), loop.create_future()
    failed.set_exception(ZeroDivisionError())
    cancelled.cancel()
    await outlast([failed, cancelled])
    await outlast([])
