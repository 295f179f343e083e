"""The program as a process of its own beside engines of the test: to be killed, or to run under other rights."""

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.devices import Device as Home
from leafsync.engine.sync.serving import ServeJob
from tests.support.devices import Device

DEADLINE = 60.0
"""Seconds for one run."""


def connecting(device: Device, job: ServeJob, *options: str, prefix: tuple[str, ...] = ()) -> list[str]:
    """Return the command line that does one pass as `device`, which runs nothing itself meanwhile."""
    address = f"127.0.0.1:{job.status().port}"
    return [*prefix, *Home(device.home).command("connect", address, device.folder, "--once", *options)]


@contextmanager
def started(device: Device, command: list[str]) -> Iterator["subprocess.Popen[str]"]:
    """Start a command as `device`; it is killed at the end of the block, if it runs still."""
    environment = Home(device.home).environment
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as it:
        try:
            yield it
        finally:
            it.kill()


async def run(device: Device, command: list[str]) -> "subprocess.CompletedProcess[str]":
    """Run a command as `device` to its end, the loop of the test going on."""

    def wait() -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command,
            env=Home(device.home).environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )

    return await asyncio.to_thread(wait)


async def connect(
    device: Device, job: ServeJob, *options: str, prefix: tuple[str, ...] = ()
) -> "subprocess.CompletedProcess[str]":
    """Do one pass as a process and return how it ended."""
    return await run(device, connecting(device, job, *options, prefix=prefix))
