"""A folder with a history and conflict copies, and the records of it where `FakeEngine` looks for them."""

from collections.abc import Sequence
from pathlib import Path

from leafsync.bridge import ActionRecord, Keep, PassRecord, Undone
from leafsync.engine.disk.store import Store
from leafsync.engine.sync.records import Records, record_name

COPY = "a.conflict-20260102-030405-nas.txt"
"""A conflict copy of a.txt."""


class RecordedFolder:
    """A folder below a directory, and what the engine at `home` knows of it."""

    def __init__(self, directory: Path) -> None:
        self.home = directory / "home"
        self.home.mkdir()
        self.path = directory / "folder"
        self.path.mkdir()

    @property
    def name(self) -> str:
        """What screens are told."""
        return str(self.path)

    @property
    def store(self) -> Path:
        """Where its records are."""
        return self.home / "state" / "folders" / record_name(self.name) / "store.sqlite"

    def write(self, path: str, text: str) -> None:
        """Write a file."""
        target = self.path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def tree(self) -> dict[str, str]:
        """Return all files but those in LeafSync's own directories, and what is in them."""
        found = {str(path.relative_to(self.path)): path for path in sorted(self.path.rglob("*")) if path.is_file()}
        return {name: path.read_text() for name, path in found.items() if not name.startswith(".leafsync_")}

    def put_pass(self, name: str, actions: Sequence[ActionRecord], *, peer: str = "nas", moment: str = "") -> None:
        """Have the history say that there was a pass."""
        moment = moment or f"2026-01-02T03:04:{name[-2:]}+00:00"
        with Store.open(self.store) as store:
            store.put_pass(PassRecord(name, moment, peer, tuple(actions)))

    def resolve(self, copy: str, keep: Keep) -> Undone:
        """Do a pass that can be taken back."""
        with Records.open(self.name, self.home / "state", force=True) as records:
            return records.resolve(copy, keep)

    def decided(self, keep: Keep = Keep.OTHER) -> Undone:
        """Have two versions of a.txt, and one of them kept."""
        self.write("a.txt", "this")
        self.write(COPY, "other")
        return self.resolve(COPY, keep)
