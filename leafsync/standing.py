"""Where the jobs of a run stand, as `leafsync status` shows it: the snapshot, and what the passes told before it."""

import os
from collections.abc import Iterable
from typing import Any

import msgspec

from leafsync.engine.core.status import ConnectStatus, PassState, PassSummary, PeerStatus, ServeStatus, Snapshot
from leafsync.progress import ARROWS, Progress

STATE_VERSION = 1
"""`v` of what a run keeps; raised by a change that another version could not show."""

MAX_PATHS = 1000
"""Paths of one kind that are told of a job: a list for people. What is beyond is counted."""


_APART = frozenset(
    {PassState.CONNECTING, PassState.ASKING, PassState.AWAITING, PassState.RECONNECTING, PassState.PAUSED}
)
"""States in which the folders may come to differ unseen."""


class _Known(msgspec.Struct):
    """What a job's passes have told."""

    summary: PassSummary | None = None
    in_sync_since: str | None = None
    conflicts: tuple[tuple[str, str], ...] = ()


class Standing:
    """Collects what is known of each job. Moments are RFC 3339 texts."""

    def __init__(self, started: str) -> None:
        """Begin with a run that was `started` at that moment."""
        self._started = started
        self._jobs: dict[int, _Known] = {}

    def finished(self, job: int, summary: PassSummary, moment: str) -> None:
        """Take in what a pass did that ended at `moment`."""
        known = self._jobs.setdefault(job, _Known())
        known.summary = summary
        known.conflicts = (known.conflicts + summary.conflicts)[-MAX_PATHS:]
        if summary.partial:
            known.in_sync_since = None
        elif summary.changed or known.in_sync_since is None:
            known.in_sync_since = moment

    def state(self, snapshot: Snapshot, progress: Progress) -> dict[str, Any]:
        """Return what another process is told."""
        jobs = [self._connect(job, progress) for job in snapshot.connecting]
        jobs += [_serve(job, progress) for job in snapshot.serving]
        return {"v": STATE_VERSION, "pid": os.getpid(), "started": self._started, "jobs": jobs}

    def _connect(self, job: ConnectStatus, progress: Progress) -> dict[str, Any]:
        known = self._jobs.setdefault(job.id, _Known())
        if job.state in _APART:
            known.in_sync_since = None
        summary = known.summary
        moving = job.state in ARROWS
        return {
            "job": job.id,
            "kind": "connect",
            "folder": job.folder,
            "address": job.address,
            "peer": job.peer.name if job.peer else "",
            "fingerprint": job.peer.fingerprint if job.peer else "",
            "state": str(job.state),
            "reason": job.reason,
            "in_sync_since": known.in_sync_since if job.state is PassState.IN_SYNC else None,
            "rate": _rounded(progress.rate(job)) if moving else None,
            "eta": _rounded(progress.eta(job)) if moving else None,
            "files": job.totals.files,
            "files_done": job.totals.files_done,
            "bytes": job.totals.bytes,
            "bytes_done": job.totals.bytes_done,
            **_paths("held", summary.held if summary else ()),
            **_paths("remote_held", summary.remote_held if summary else ()),
            "problems": len(summary.problems) + summary.remote_problems if summary else 0,
            "conflicts": [{"path": path, "copy": copy} for path, copy in known.conflicts],
        }


def _serve(job: ServeStatus, progress: Progress) -> dict[str, Any]:
    return {
        "job": job.id,
        "kind": "serve",
        "folder": job.folder,
        "port": job.port,
        "addresses": list(job.addresses),
        "read_only": job.read_only,
        "state": "serving",
        "files": job.files,
        "bytes": job.bytes,
        "problems": job.problems,
        "peers": [_peer(peer, progress.peer_rate(job, peer)) for peer in job.peers[:MAX_PATHS]],
    }


def _peer(peer: PeerStatus, rate: float | None) -> dict[str, Any]:
    return {
        "name": peer.name,
        "fingerprint": peer.fingerprint,
        "address": peer.address,
        "activity": peer.activity,
        "rate": _rounded(rate),
    }


def _paths(name: str, paths: Iterable[str]) -> dict[str, Any]:
    listed = list(paths)
    return {name: listed[:MAX_PATHS], f"{name}_count": len(listed)}


def _rounded(figure: float | None) -> int | None:
    return None if figure is None else round(figure)
