"""The only writer of stdout: data, as text for people or as JSON Lines for programs.

Lines are collected without blocking and written by `flush`, which a run calls off its event loop: a reader that
stops reading must not stop the connection. JSON Lines are additive and versioned (README, section Scripting); texts
in them are as they came, escaped by JSON alone, with everything outside ASCII as `\\u` escapes.
"""

import base64
import contextlib
import json
import os
from collections import deque
from typing import TYPE_CHECKING, Any, TextIO

import msgspec

from leafsync.engine.core.events import (
    DeviceTrusted,
    Event,
    PassFinished,
    PeerConnected,
    PeerLeft,
    PeerRefused,
    Reconnecting,
    ServeStarted,
    Warned,
)
from leafsync.engine.core.status import ConnectStatus, PassSummary
from leafsync.paths import Paths
from leafsync.tables import conflicts_lines, job_lines, passes_lines, table
from leafsync.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from leafsync.engine.core.history import PassRecord
    from leafsync.engine.net.trust import Device
    from leafsync.engine.sync.records import ConflictCopy, Undone

FORMAT_VERSION = 1
"""`v` of every JSON line. Fields and types are only ever added to it; a change that could break a reader raises it."""

MAX_PENDING = 10_000
"""Lines kept for a reader that does not read; beyond that the oldest are dropped, and a `warning` line says so."""

_EVENT_TYPES: dict[type[Event], str] = {
    ServeStarted: "serving",
    PeerConnected: "peer_connected",
    PeerLeft: "peer_left",
    PeerRefused: "peer_refused",
    DeviceTrusted: "device_trusted",
    Reconnecting: "reconnecting",
    Warned: "warning",
}


class Output:
    """Standard output. `failure` is the error that ended it (a reader that went away, a full disk)."""

    def __init__(self, stream: TextIO | None, *, json: bool = False) -> None:
        """Write to `stream`; None (a closed stdout) swallows everything."""
        self.json = json
        self.verbose = False
        """Whether tables are shown with all there is to say."""
        self.failure: OSError | None = None
        self._stream = stream
        self._pending: deque[str] = deque(maxlen=MAX_PENDING)
        self._lost = 0
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")

    @property
    def pending(self) -> bool:
        """Whether `flush` has something to do."""
        return bool(self._pending)

    def line(self, text: str) -> None:
        """Put one line of text, escaped already."""
        self._lost += len(self._pending) == MAX_PENDING
        self._pending.append(text + "\n")

    def record(self, kind: str, /, **fields: object) -> None:
        """Put one JSON line."""
        self.line(json.dumps({"v": FORMAT_VERSION, "type": kind, **fields}, separators=(",", ":")))

    def flush(self) -> None:
        """Write what was put. Blocks as long as the reader does; errors end up in `failure`."""
        if self._lost and self.json:
            lost, self._lost = self._lost, 0
            self.record("warning", message=f"{lost} lines were dropped, because they were not read in time")
        text = "".join(self._pending.popleft() for _ in range(len(self._pending)))
        if self._stream is None or self.failure is not None or not text:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError as error:
            self.failure = error
            self._detach()

    def _detach(self) -> None:
        """Let what is left in the stream's buffer go nowhere, so that closing it at exit does not fail again."""
        with contextlib.suppress(OSError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.dup2(nowhere, self._stream.fileno() if self._stream else nowhere)
            finally:
                os.close(nowhere)

    # Commands that answer at once

    def identity(self, name: str, fingerprint: str, groups: str) -> None:
        """Show this device."""
        if self.json:
            self.record("identity", name=name, fingerprint=fingerprint)
            return
        half = len(groups) // 2
        self.line(f"name         {printable(name)}")
        self.line(f"fingerprint  {fingerprint}")
        self.line(f"             {groups[:half].strip()}")
        self.line(f"             {groups[half:].strip()}")

    def devices(self, devices: "Iterable[Device]") -> None:
        """Show the trusted devices: a line each."""
        if self.json:
            for device in devices:
                self.record("device", **{**msgspec.structs.asdict(device), "permission": str(device.permission)})
            return
        rows = [
            (printable(device.name), str(device.permission), device.last_seen, device.fingerprint, _addresses(device))
            for device in devices
        ]
        if rows:
            self._lines(table([("NAME", "PERMISSION", "LAST SEEN", "FINGERPRINT", "ADDRESSES"), *rows]))

    def paths(self, paths: Paths) -> None:
        """Show where LeafSync's files are."""
        places = {name: str(path) for name, path in msgspec.structs.asdict(paths).items()}
        if self.json:
            self.record("paths", **places)
            return
        for name, path in places.items():
            self.line(f"{name:<9} {printable(path)}")

    def passes(self, passes: "Sequence[PassRecord]") -> None:
        """Show the history."""
        if not self.json:
            self._lines(passes_lines(passes, verbose=self.verbose))
            return
        for one in passes:
            actions = [
                {"kind": str(action.kind), "path": action.path, "source": action.source, "kept": action.kept}
                for action in one.actions
            ]
            self.record("pass", id=one.id, moment=one.moment, peer=one.peer, actions=actions)

    def undone(self, undone: "Undone") -> None:
        """Show what came of an undo, a restore or a resolved conflict; why something failed is narrated."""
        if self.json:
            outcomes = [{"path": path, "error": error} for path, error in undone.outcomes]
            self.record("restored", id=undone.id, partial=undone.partial, outcomes=outcomes)
            return
        failed = {path for path, error in undone.outcomes if error}
        self._lines(printable(path) for path in dict(undone.outcomes) if path not in failed)

    def conflicts(self, copies: "Sequence[ConflictCopy]") -> None:
        """Show the conflict copies."""
        if not self.json:
            self._lines(conflicts_lines(copies))
            return
        for copy in copies:
            self.record("conflict", **msgspec.structs.asdict(copy))

    def job(self, job: "Mapping[str, Any]") -> None:
        """Show where a job of another process stands (`standing`)."""
        if self.json:
            self.record("job", **job)
        else:
            self._lines(job_lines(job))

    def _lines(self, lines: "Iterable[str]") -> None:
        for line in lines:
            self.line(line)

    # Runs, in JSON

    def event(self, event: Event) -> None:
        """Put an event's line."""
        if isinstance(event, PassFinished):
            self.summary(event.job, event.summary)
        elif type(event) in _EVENT_TYPES:
            self.record(_EVENT_TYPES[type(event)], **msgspec.structs.asdict(event))

    def progress(self, job: ConnectStatus, rate: float | None, eta: float | None) -> None:
        """Put where a pass stands. `rate` in bytes per second, `eta` in seconds, both None while unknown."""
        self.record(
            "progress",
            job=job.id,
            state=str(job.state),
            **msgspec.structs.asdict(job.totals),
            rate=None if rate is None else round(rate),
            eta=None if eta is None else round(eta, 1),
        )

    def summary(self, job: int, summary: PassSummary) -> None:
        """Put what a pass did, or what it would do."""
        fields = msgspec.structs.asdict(summary)
        totals = msgspec.structs.asdict(fields.pop("totals"))
        planned = fields.pop("planned")
        for paths in ("fetched", "sent"):  # the totals have the bytes under these names
            fields[f"{paths}_paths"] = fields.pop(paths)
        fields["problems"] = [_problem(path, reason) for path, reason in summary.problems]
        fields["notes"] = [{"path": path, "note": note} for path, note in summary.notes]
        fields["conflicts"] = [{"path": path, "copy": copy} for path, copy in summary.conflicts]
        for moves in ("moved", "remote_moved"):
            fields[moves] = [{"from": source, "to": target} for source, target in fields[moves]]
        fields["seconds"] = round(summary.seconds, 3)
        self.record(
            "plan" if planned else "summary",
            job=job,
            changed=summary.changed,
            partial=summary.partial,
            **totals,
            **fields,
        )

    def error(self, kind: str, message: str, exit_code: int) -> None:
        """Put why the run failed: `kind` is the error's class (leafsync/errors.py), `message` its sentence."""
        self.record("error", kind=kind, message=message, exit_code=exit_code)


def _addresses(device: "Device") -> str:
    return ",".join(map(printable, device.addresses))


def _problem(path: str, reason: str) -> dict[str, Any]:
    """A path that is not UTF-8 cannot be told in JSON, so its bytes come along."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return {"path": path, "path_b64": base64.b64encode(os.fsencode(path)).decode(), "reason": reason}
    return {"path": path, "reason": reason}
