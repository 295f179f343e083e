"""`leafsync status`: where the runs of this user stand."""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leafsync.errors import ExitCode
from leafsync.instances import running
from leafsync.run import Session
from leafsync.standing import STATE_VERSION
from leafsync.text import printable


def status(_arguments: argparse.Namespace, session: Session) -> int:
    """`leafsync status`."""
    runs = running(session.paths.runs)
    for run in runs:
        if run.get("v") != STATE_VERSION:
            session.diagnostics.warn(f"another version of LeafSync runs as process {printable(str(run.get('pid')))}")
            continue
        for job in run["jobs"]:
            session.output.job({"pid": run["pid"], "started": run["started"], **_current(job)})
    if not runs:
        session.diagnostics.say("nothing is running: see `leafsync serve --help` and `leafsync connect --help`")
    return ExitCode.DONE


def _current(job: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the conflict copies that are resolved by now."""
    conflicts = [
        conflict for conflict in job.get("conflicts", ()) if os.path.lexists(Path(job["folder"], conflict["copy"]))
    ]
    return {**job, "conflicts": conflicts} if "conflicts" in job else dict(job)
