"""The Serve screen: offer a folder to trusted devices."""

from collections.abc import Iterable
from typing import ClassVar

from textual import on, work
from textual.widget import Widget

from leafsync import forms
from leafsync.bridge import EndedJob, ServeOptions, ServeStatus, Snapshot
from leafsync.errors import FolderInUse, LeafSyncError, PortInUse, UsageError
from leafsync.screens.jobs import JobsScreen
from leafsync.widgets.field import Field
from leafsync.widgets.folder_field import FolderField
from leafsync.widgets.tick import Tick


class ServeScreen(JobsScreen):
    """Offer a folder to trusted devices."""

    NAME: ClassVar[str] = "serve"
    HEADING: ClassVar[str] = "Offer a folder"
    EMPTY: ClassVar[str] = (
        "Nothing is served yet.\n\n"
        "Choose a folder and press Start (ctrl+s). The card that appears here has the address and the fingerprint\n"
        "to use on the other machine: there, open Connect (2)."
    )
    HELP: ClassVar[str | None] = """# Serve
Offer a folder to trusted devices. On the other machine, Connect with one of the addresses on the card.

A device that nobody has confirmed yet is asked about here, with its fingerprint.
"""

    def fields(self) -> Iterable[Widget]:
        """Yield the form."""
        state, config = self.settings.state, self.settings.config
        yield FolderField(value=state.serve_folder, help_text="The folder to offer. `ctrl+o` chooses it in a tree.")
        yield Field(
            "File",
            id="file",
            placeholder="all of the folder",
            check=forms.file_reason,
            help_text="Offer this path of the folder alone; empty for all of it.",
        )
        yield Field(
            "Port",
            id="port",
            value=str(config.port if state.serve_port is None else state.serve_port),
            check=forms.port_reason,
            help_text="UDP port that the other machines connect to. 0 picks any free one.",
        )
        yield Tick("Read-only: take no changes", id="read-only")
        yield Tick("Trust the first unknown device", id="accept-first")

    @on(Field.Changed, "#port")
    def _port_changed(self, event: Field.Changed) -> None:
        if event.field.usable:
            self._probe(int(event.field.value))

    @work(thread=True, exclusive=True, exit_on_error=False, group="probe")
    def _probe(self, port: int) -> None:
        """Look whether the port is free, off the loop."""
        reason = forms.port_in_use_reason(port)
        if reason:
            self.app.call_from_thread(self._refuse_port, port, reason)

    def _refuse_port(self, port: int, reason: str) -> None:
        field = self.query_one("#port", Field)
        if field.value.strip() == str(port) and not self._starting:
            field.refuse(reason)
            self._weigh()

    async def begin(self) -> None:
        """Serve what the form says."""
        folder, port = self.query_one(FolderField), self.query_one("#port", Field)
        await self.bridge.serve(
            ServeOptions(
                folder=folder.path,
                port=int(port.value),
                file=forms.inner_path(self.query_one("#file", Field).value),
                read_only=self.query_one("#read-only", Tick).value,
                accept_first=self.query_one("#accept-first", Tick).value,
                rate_mbps=self.settings.config.rate_mbps,
            )
        )
        self.settings.state.serve_folder, self.settings.state.serve_port = folder.path, int(port.value)
        self.settings.save()

    def refused(self, error: LeafSyncError) -> None:
        """Say an error beside its field."""
        if isinstance(error, PortInUse):
            self.query_one("#port", Field).refuse(str(error))
        elif isinstance(error, UsageError | FolderInUse):
            self.query_one(FolderField).refuse(str(error))

    def jobs(self, snapshot: Snapshot) -> "tuple[ServeStatus | EndedJob, ...]":
        """Return the folders that are served, and those that were until something went wrong."""
        ended = tuple(job for job in self.bridge.ended.values() if not job.address)
        return (*ended, *(job for job in snapshot.serving if job.id not in self.bridge.ended))
