"""Who and what appears in scenes: jobs, transfers, passes and names of all sorts, always the same."""

from datetime import timedelta

from msgspec.structs import replace

from leafsync.bridge import (
    ActionKind,
    ActionRecord,
    ConflictCopy,
    ConnectStatus,
    Direction,
    Mode,
    PassRecord,
    PassState,
    PassSummary,
    PeerStatus,
    ServeStatus,
    Totals,
)
from leafsync.engine.core.transfers import TransferKey, TransferLog
from leafsync.screens.conflicts import Version
from leafsync.ui_state import Recent
from leafsync.widgets.places import Place
from tests.support.stage import HOME, Disk, fingerprint_of
from tests.support.ui import NOW

MB = 1_000_000
GB = 1000 * MB

PICTURES = f"{HOME}/Pictures"
NOTES = f"{HOME}/Documents/notes"
MUSIC = f"{HOME}/Music"

RECENT = (
    Recent("nas.local:4455", PICTURES),
    Recent("192.168.1.24:4455", NOTES),
    Recent("[2001:db8::5]:4455", MUSIC, mode="mirror"),
    Recent("studio.example.org:14455", "/srv/video/projects/2026/harbour-documentary", file="rushes/day-03"),
)


def peer(name: str, address: str, activity: str = "connected", wire: int = 0) -> PeerStatus:
    """Return a device that moved so many bytes, nine of ten to us."""
    return PeerStatus(fingerprint_of(name), name, address, activity, wire * 9 // 10, wire // 10)


# Serve


def serving(wire: int = 0) -> ServeStatus:
    """Return a folder that two devices use; one has sent so many bytes."""
    peers = (
        peer("laptop", "192.168.1.31:51820", "receiving", wire),
        peer("studio", "[2001:db8::5]:40112", "connected"),
    )
    addresses = ("192.168.1.20:4455", "[2001:db8::20]:4455")
    return ServeStatus(1, PICTURES, 4455, addresses, False, peers=peers, files=18_423, bytes=96 * GB + 412 * MB)


# Connect


def in_sync() -> ConnectStatus:
    """Return a job that has nothing to do."""
    where = peer("nas", "192.168.1.10:4455")
    return ConnectStatus(1, NOTES, "nas.local:4455", PassState.IN_SYNC, peer=where)


def transferring(seconds: float = 0.0, job_id: int = 2) -> ConnectStatus:
    """Return a job that brings files here, so many seconds later."""
    come = int(seconds * 41.7 * MB)
    totals = Totals(
        1_204, 871 + int(seconds), 24 * GB, 17 * GB + come, 9 * GB + come, 0, 8 * GB, 9 * GB + come, 64 * MB
    )
    where = peer("nas", "192.168.1.10:4455", "sending", 10 * GB + come * 10 // 9)
    return ConnectStatus(job_id, PICTURES, "nas.local:4455", PassState.TRANSFERRING, peer=where, totals=totals)


def reconnecting() -> ConnectStatus:
    """Return a job that does not reach its device."""
    reason = (
        "studio.example.org:14455 did not answer within 10 s. Is `leafsync serve` running there, and UDP port 14455 "
        "open?"
    )
    folder = "/srv/video/projects/2026/harbour-documentary"
    return ConnectStatus(
        3,
        folder,
        "studio.example.org:14455",
        PassState.RECONNECTING,
        Mode.PUSH,
        "rushes/day-03",
        reason=reason,
        retry_in=23.0,
    )


def partly() -> ConnectStatus:
    """Return a job whose last pass left something to decide."""
    where = peer("laptop", "192.168.1.31:4455")
    return ConnectStatus(4, f"{HOME}/Documents/taxes", "192.168.1.31:4455", PassState.IN_SYNC, peer=where)


def mirrored() -> ConnectStatus:
    """Return a job that will end with an error."""
    return ConnectStatus(5, MUSIC, "[2001:db8::5]:4455", PassState.IN_SYNC, Mode.MIRROR)


HELD = tuple(f"2019/receipts/{month:02}/scan-{number:03}.pdf" for month in (1, 2, 3) for number in range(1, 17))

LEFT_TO_DECIDE = PassSummary(
    Totals(3, 3, 5 * MB, 5 * MB, 5 * MB),
    0.4,
    held=HELD,
    remote_held=("2018/summary.ods", "2018/receipts"),
    conflicts=(("2025/return.ods", "2025/return.conflict-20260101-201500-laptop.ods"),),
    problems=(("2025/scan:1.pdf", "the other side cannot have this name"),),
)
"""What the last pass of `partly` did."""

PLAN = PassSummary(
    Totals(214, 0, 3 * GB, 0),
    0.0,
    fetched=tuple(f"2026/01-harbour/DSC_{number:04}.NEF" for number in range(1201, 1213)),
    sent=("2025/12-snow/edited/contact-sheet.pdf", "2025/12-snow/edited/DSC_1187.jpg"),
    moved=(("2025/unsorted/DSC_0990.NEF", "2025/11-forest/DSC_0990.NEF"),),
    trashed=("2025/unsorted/duplicate.NEF",),
    conflicts=(("2025/captions.txt", "2025/captions.conflict-20260102-030405-nas.txt"),),
    planned=True,
)
"""What a pass would do."""


# Transfers

HOSTILE = (
    "\x1b[31mred\x1b[0m alert\x1b]0;owned\x07.txt",
    "[bold red]not markup[/bold red] [link=file:///etc/passwd]x[/link].md",
    "invoice\u202efdp.exe",
    "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd.docx",
    "\u65e5\u672c\u8a9e\u306e\u5199\u771f/\u6771\u4eac\u30bf\u30ef\u30fc.jpg",
    "cafe\u0301 a\u0308o\u0308u\u0308 n\u0303.txt",
    "family \U0001f468\u200d\U0001f469\u200d\U0001f467/party \U0001f389.heic",
    "tab\there\nand newline\r.log",
    "bytes that are no text \udcff\udcfe.bin",
    f"very/{'deep/' * 24}path.txt",
)
"""Names that somebody chose to harm a terminal, or just lives with."""


PHOTOS = tuple((f"2026/01-harbour/DSC_{number:04}.NEF", 48 * MB + number * 137_000) for number in range(1201, 1219))

LETTERS = tuple(
    f"letters/2025/{name}.pdf" for name in ("anna", "bank", "city", "dentist", "energy", "flat", "garage", "insurance")
)


def fill(log: TransferLog, names: tuple[str, ...], seconds: float = 0.0) -> None:
    """Have files in all states in a log of what comes: of each eight names, three move, two failed, two are done."""
    log.expect("nas", Direction.IN, [(name, 20 * MB) for name in names])
    errors = ERRORS if names is HOSTILE else ERRORS[:1]
    for at, name in enumerate(names):
        key = TransferKey("nas", Direction.IN, name)
        match at % 8:
            case 0 | 3:
                start(log, name, 20 * MB, int((6 + seconds * (1 + at % 8)) * MB))
            case 1 | 6:
                start(log, name, 20 * MB, 400_000)
                log.settle(key, errors[0 if at % 8 == 1 else -1])
            case 2 | 4:
                start(log, name, 20 * MB, 20 * MB)
                log.settle(key)


ERRORS = (
    "it changed while it was being sent; the next pass brings it",
    "its content is not what was announced: \x1b[5m[b]root mismatch[/b]",
)
"""Why files did not come; a peer may have worded the second one."""


def fill_photos(log: TransferLog, seconds: float = 0.0) -> None:
    """Have photos in a log of what comes: four move, six are done, the others wait."""
    log.expect("nas", Direction.IN, PHOTOS)
    for at, (path, size) in enumerate(PHOTOS[:10]):
        start(log, path, size, size if at >= 4 else size * (at + 1) // 6 + int(seconds * (9 + at) * MB))
        if at >= 4:
            log.settle(TransferKey("nas", Direction.IN, path))


def fill_sending(log: TransferLog, seconds: float = 0.0) -> None:
    """Have music in a log of what goes to two devices: of six files, two move, two wait, two are there."""
    for device, album in (("laptop", "Blue"), ("studio", "Kind of Blue")):
        log.expect(device, Direction.OUT, [(f"{album}/{at:02}.flac", 31 * MB + at * 1_234_567) for at in range(1, 7)])
        for at in (1, 2, 5, 6):
            key = TransferKey(device, Direction.OUT, f"{album}/{at:02}.flac")
            log.start(key, 31 * MB + at * 1_234_567)
            log.add(key, int((4 + 3 * at + seconds * at) * MB) - log.done(key))
            if at > 2:
                log.settle(key)


def start(log: TransferLog, path: str, size: int, done: int) -> None:
    """Have a file that comes from the nas on its way; `done` of its bytes are there."""
    key = TransferKey("nas", Direction.IN, path)
    log.start(key, size)
    log.add(key, done - log.done(key))


# Folders

TRASH = ".leafsync_trash/20260102-030201-9f3c"

PASSES = [
    PassRecord(
        "20260102-030201-9f3c",
        "2026-01-02T03:02:01+00:00",
        "nas",
        (
            ActionRecord(ActionKind.MADE, "2026/01-harbour"),
            *(ActionRecord(ActionKind.CREATED, f"2026/01-harbour/DSC_{number}.NEF") for number in range(1201, 1207)),
            ActionRecord(ActionKind.REPLACED, "2025/captions.txt", kept=f"{TRASH}/a"),
            ActionRecord(ActionKind.MOVED, "2025/11-forest/DSC_0990.NEF", "2025/unsorted/DSC_0990.NEF"),
            ActionRecord(ActionKind.TRASHED, "2025/unsorted/duplicate.NEF", kept=f"{TRASH}/b"),
            ActionRecord(ActionKind.LINKED, "latest"),
            ActionRecord(ActionKind.TOUCHED, "scripts/import.sh"),
            ActionRecord(ActionKind.CREATED, HOSTILE[0]),
            ActionRecord(ActionKind.CREATED, HOSTILE[4]),
            ActionRecord(ActionKind.CONFLICT, "2025/index.md", "2025/index.conflict-20260102-030201-nas.md"),
        ),
    ),
    PassRecord("20260101-214455-07aa", "2026-01-01T21:44:55+00:00", "", (ActionRecord(ActionKind.CREATED, "a"),)),
    PassRecord(
        "20260101-201500-51d0",
        "2026-01-01T20:15:00+00:00",
        "[i]evil[/i] \x1b[31mname",
        tuple(ActionRecord(ActionKind.TRASHED, f"old/{number}") for number in range(1_204)),
    ),
    PassRecord(
        "20251224-180000-b00c",
        "2025-12-24T18:00:00+00:00",
        "laptop",
        tuple(ActionRecord(kind, f"{kind}-{at}") for kind in ActionKind for at in range(12)),
    ),
]

COPIES = [
    ConflictCopy(path, copy, size, int((NOW - timedelta(hours=hours)).timestamp()) * 10**9)
    for path, copy, size, hours in (
        ("2025/captions.txt", "2025/captions.conflict-20260102-030201-nas.txt", 4_812, 3),
        ("2025/index.md", "2025/index.conflict-20260102-030201-nas.md", 23_004, 30),
        (
            f"{HOSTILE[4]}",
            "\u65e5\u672c\u8a9e\u306e\u5199\u771f/\u6771\u4eac\u30bf\u30ef\u30fc.conflict-1.jpg",
            3 * MB,
            500,
        ),
    )
]

VERSIONS = {
    f"{PICTURES}/{COPIES[0].path}": Version(4_790, COPIES[0].mtime_ns - 3600 * 10**9),
    f"{PICTURES}/{COPIES[1].path}": Version(23_120, COPIES[1].mtime_ns + 7200 * 10**9),
}
"""What has the names of the first two conflict copies; nothing has that of the third."""


def furnish(disk: Disk) -> None:
    """Put a home and what is around it on the disk."""
    disk.places = (
        Place("Home", HOME),
        Place("Documents", f"{HOME}/Documents"),
        Place("Downloads", f"{HOME}/Downloads"),
        Place("Music", MUSIC),
        Place("Pictures", PICTURES),
        Place("Filesystem", "/", drive=True),
        Place("Backup disk", "/media/ana/Backup disk", drive=True),
    )
    disk.add("/", ("home", "media", "srv"))
    disk.add("/home", ("ana",))
    disk.add(HOME, ("Desktop", "Documents", "Downloads", "Music", "Pictures", "Videos"), files=7)
    disk.add(
        f"{HOME}/Documents", ("letters", "notes", "taxes", "[bold]brackets[/bold]", "\u65e5\u672c\u8a9e"), files=31
    )
    disk.add(PICTURES, ("2024", "2025", "2026", "scans"), files=12)
    disk.add(f"{PICTURES}/2026", ("01-harbour", "02-winter-light"))
    disk.add(f"{PICTURES}/scans", reason="you may not read it")


def quiet(job: ConnectStatus) -> ConnectStatus:
    """Return a job as it is once everything is the same."""
    return replace(job, state=PassState.IN_SYNC)
