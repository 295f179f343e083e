"""stdout: tables for people, JSON Lines for programs, and readers that go away."""

import io
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from leafsync.engine.core import events
from leafsync.engine.core.events import (
    DeviceTrusted,
    Event,
    PassFinished,
    PeerConnected,
    PeerLeft,
    PeerPending,
    PeerRefused,
    Reconnecting,
    ServeStarted,
    Warned,
)
from leafsync.engine.core.status import ConnectStatus, PassState, PassSummary, Totals
from leafsync.engine.net.trust import Permission, TrustStore
from leafsync.output import MAX_PENDING, Output
from leafsync.paths import find_paths

FP = "ab" * 32
OTHER = "cd" * 32


def written(output: Output, stream: io.StringIO) -> str:
    output.flush()
    return stream.getvalue()


def record_of(event: Event) -> dict[str, object]:
    stream = io.StringIO()
    output = Output(stream, json=True)
    output.event(event)
    record: dict[str, object] = json.loads(written(output, stream))
    return record


# Text


def test_identity_text() -> None:
    stream = io.StringIO()
    output = Output(stream)
    groups = " ".join(["abab"] * 16)
    output.identity("anna\x1b", FP, groups)
    half = " ".join(["abab"] * 8)
    assert written(output, stream).splitlines() == [
        "name         anna\\x1b",
        f"fingerprint  {FP}",
        f"             {half}",
        f"             {half}",
    ]


def test_devices_text_is_aligned_by_width_on_the_screen(tmp_path: Path) -> None:
    store = TrustStore(tmp_path / "trust.toml", now=lambda: datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC))
    store.add(FP, name="写真", address="10.0.0.2:4455", confirmed="command line")
    store.add(OTHER, name="nas", permission=Permission.READ, confirmed="command line")
    stream = io.StringIO()
    output = Output(stream)
    output.devices(store.devices)
    blank = " " * (64 - len("FINGERPRINT"))
    assert written(output, stream).splitlines() == [
        f"NAME  PERMISSION  LAST SEEN             FINGERPRINT{blank}  ADDRESSES",
        f"nas   read        2026-11-22T12:00:00Z  {OTHER}",
        f"写真  read-write  2026-11-22T12:00:00Z  {FP}  10.0.0.2:4455",
    ]


def test_no_devices_is_no_text() -> None:
    stream = io.StringIO()
    output = Output(stream)
    output.devices([])
    assert written(output, stream) == ""


def test_paths_in_both_forms() -> None:
    paths = find_paths({"LEAFSYNC_HOME": "/h"})
    stream = io.StringIO()
    Output(stream).paths(paths)
    output = Output(stream)
    output.paths(paths)
    output.json = True
    output.paths(paths)
    *text, line = written(output, stream).splitlines()
    assert text[0] == "config    /h/config.toml"
    assert json.loads(line) == {
        "v": 1,
        "type": "paths",
        "config": "/h/config.toml",
        "identity": "/h/identity.pem",
        "trust": "/h/trust.toml",
        "state": "/h/state",
        "runs": "/h/state/run",
        "logs": "/h/state/log",
    }


# JSON


@pytest.mark.parametrize(
    ("event", "record"),
    [
        (
            ServeStarted(1, "/f", 4455, ("a", "b"), FP),
            {"type": "serving", "folder": "/f", "port": 4455, "addresses": ["a", "b"], "fingerprint": FP},
        ),
        (
            PeerConnected(1, FP, "anna", "10.0.0.2:5", "dir"),
            {"type": "peer_connected", "fingerprint": FP, "name": "anna", "address": "10.0.0.2:5", "only": "dir"},
        ),
        (
            PeerLeft(1, FP, "10.0.0.2:5", ""),
            {"type": "peer_left", "fingerprint": FP, "address": "10.0.0.2:5", "reason": ""},
        ),
        (
            PeerRefused(1, FP, "10.0.0.2:5", "not trusted"),
            {"type": "peer_refused", "fingerprint": FP, "address": "10.0.0.2:5", "reason": "not trusted"},
        ),
        (
            DeviceTrusted(1, FP, "anna", "10.0.0.2:5", "accept-first"),
            {
                "type": "device_trusted",
                "fingerprint": FP,
                "name": "anna",
                "address": "10.0.0.2:5",
                "confirmed": "accept-first",
            },
        ),
        (Reconnecting(1, 2.5, "gone"), {"type": "reconnecting", "delay": 2.5, "reason": "gone"}),
        (Warned(1, "look out"), {"type": "warning", "message": "look out"}),
    ],
)
def test_every_event_has_its_line(event: Event, record: dict[str, object]) -> None:
    assert record_of(event) == {"v": 1, "job": 1, **record}


def test_every_event_class_is_covered() -> None:
    kinds = {kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Event)} - {Event}
    assert len(kinds) == 9
    for kind in kinds - {PassFinished, PeerPending}:  # a summary of its own; only where there is somebody to ask
        fields: dict[str, Any] = dict.fromkeys(kind.__struct_fields__)
        assert record_of(kind(**fields))["v"] == 1


def test_summary_record() -> None:
    totals = Totals(
        files=2, files_done=1, bytes=30, bytes_done=20, fetched=15, sent=16, reused=5, wire_in=100, wire_out=50
    )
    summary = PassSummary(
        totals,
        1.23456,
        directories=1,
        links=2,
        touched=3,
        trashed=("a",),
        held=("b",),
        problems=(("c", "busy"), ("d\udcff", "the name is not valid UTF-8")),
        remote_problems=4,
        round_trips=5,
        fetched=("new",),
        sent=("e", "f"),
        moved=(("from", "to"),),
        remote_trashed=("gone",),
        remote_moved=(("x", "y"),),
        remote_changes=6,
        remote_held=("theirs",),
        conflicts=(("both", "copy"),),
        notes=(("back", "the edit came back"),),
    )
    assert record_of(PassFinished(7, msgspec.structs.replace(summary, planned=True)))["type"] == "plan"
    assert record_of(PassFinished(7, summary)) == {
        "v": 1,
        "type": "summary",
        "job": 7,
        "changed": True,
        "partial": True,
        "files": 2,
        "files_done": 1,
        "bytes": 30,
        "bytes_done": 20,
        "fetched": 15,
        "sent": 16,
        "reused": 5,
        "wire_in": 100,
        "wire_out": 50,
        "seconds": 1.235,
        "fetched_paths": ["new"],
        "sent_paths": ["e", "f"],
        "moved": [{"from": "from", "to": "to"}],
        "remote_trashed": ["gone"],
        "remote_moved": [{"from": "x", "to": "y"}],
        "remote_changes": 6,
        "remote_held": ["theirs"],
        "conflicts": [{"path": "both", "copy": "copy"}],
        "notes": [{"path": "back", "note": "the edit came back"}],
        "directories": 1,
        "links": 2,
        "touched": 3,
        "trashed": ["a"],
        "held": ["b"],
        "problems": [
            {"path": "c", "reason": "busy"},
            {"path": "d\udcff", "path_b64": "ZP8=", "reason": "the name is not valid UTF-8"},
        ],
        "remote_problems": 4,
        "round_trips": 5,
    }


@pytest.mark.parametrize(("rate", "eta"), [(None, None), (1234.6, 5.678)])
def test_progress_record(rate: float | None, eta: float | None) -> None:
    stream = io.StringIO()
    output = Output(stream, json=True)
    totals = Totals(files=2, bytes=30, bytes_done=20, fetched=15)
    output.progress(ConnectStatus(1, "/f", "nas:1", PassState.TRANSFERRING, totals=totals), rate, eta)
    assert json.loads(written(output, stream)) == {
        "v": 1,
        "type": "progress",
        "job": 1,
        "state": "transferring",
        "files": 2,
        "files_done": 0,
        "bytes": 30,
        "bytes_done": 20,
        "fetched": 15,
        "sent": 0,
        "reused": 0,
        "wire_in": 0,
        "wire_out": 0,
        "rate": None if rate is None else 1235,
        "eta": None if eta is None else 5.7,
    }


def test_hostile_text_cannot_leave_its_json_string() -> None:
    hostile = 'a\x1b[2J"\n{"v":1}\u202e\u2028é'
    stream = io.StringIO()
    output = Output(stream, json=True)
    output.event(Warned(1, hostile))
    text = written(output, stream)
    assert text.count("\n") == 1
    assert text.isascii()
    assert text.rstrip("\n").isprintable()
    assert json.loads(text)["message"] == hostile


# Readers


class Broken(io.StringIO):
    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error


def test_a_reader_that_went_away_is_remembered_and_never_raises() -> None:
    output = Output(Broken(BrokenPipeError(32, "Broken pipe")))
    output.line("a")
    output.flush()
    assert isinstance(output.failure, BrokenPipeError)
    output.line("b")
    output.flush()
    assert not output.pending


def test_a_closed_pipe_does_not_fail_again_at_exit() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w")
    output = Output(stream)
    output.line("a")
    output.flush()
    assert isinstance(output.failure, BrokenPipeError)
    stream.close()  # would raise BrokenPipeError if the descriptor still led to the pipe


def test_a_closed_stdout_swallows_everything() -> None:
    output = Output(None)
    output.line("a")
    output.flush()
    assert output.failure is None
    assert not output.pending


def test_what_the_encoding_lacks_is_escaped() -> None:
    raw = io.BytesIO()
    output = Output(io.TextIOWrapper(raw, encoding="ascii"))
    output.line("写")
    output.flush()
    assert raw.getvalue() == b"\\u5199\n"


def test_a_reader_that_does_not_read_loses_the_oldest_lines_and_is_told() -> None:
    stream = io.StringIO()
    output = Output(stream, json=True)
    for number in range(MAX_PENDING + 5):
        output.record("x", number=number)
    lines = [json.loads(line) for line in written(output, stream).splitlines()]
    assert len(lines) == MAX_PENDING
    assert lines[-2]["number"] == MAX_PENDING + 4
    assert lines[-1]["type"] == "warning"
