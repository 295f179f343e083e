"""The Serve screen: offer a folder to trusted devices."""

import asyncio
from collections.abc import Iterable
from typing import ClassVar

from textual import on, work
from textual.widget import Widget

from leafsync import forms
from leafsync.bridge import MAX_PORT, EndedJob, ServeOptions, ServeStatus, Snapshot
from leafsync.screens.jobs import JobsScreen
from leafsync.widgets.field import Field
from leafsync.widgets.folder_field import FolderField
from leafsync.widgets.tick import Tick


class ServeScreen(JobsScreen[ServeOptions]):
    """Offer a folder to trusted devices."""

    NAME: ClassVar[str] = "serve"
    HEADING: ClassVar[str] = "Offer a folder"
    EMPTY: ClassVar[str] = (
        "Nothing is served yet.\n\n"
        "Choose a folder and press Start (ctrl+s). The card that appears here has the address to type on the other "
        "machine, in Connect, and the fingerprint to compare there."
    )
    HELP: ClassVar[str | None] = """# Serve
Offer a folder to trusted devices. On the other machine, Connect with one of the addresses on the card.

A device that nobody has confirmed yet is asked about here, with its fingerprint. **escape** goes from the form to the
cards and back.
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
        yield Tick("Read-only: take no changes", id="read-only", help_text="Others may bring this folder to them only.")
        yield Tick(
            "Accept a new device unasked",
            id="accept-first",
            help_text="Trust the first unknown device that connects, and only that one. Whoever is first is let in.",
        )

    @on(Field.Changed, "#port")
    def _port_changed(self, event: Field.Changed) -> None:
        if event.field.usable:
            self._probe()

    def look_again(self) -> None:
        """Look whether the folder and the port can be used by now."""
        super().look_again()
        port = self.query_one("#port", Field)
        if self.is_current and port.reason and not forms.port_reason(port.value):
            self._probe()

    @work(exclusive=True, exit_on_error=False, group="probe")
    async def _probe(self) -> None:
        """Look whether the port is free, off the loop."""
        field = self.query_one("#port", Field)
        port = int(field.value)
        reason = await asyncio.to_thread(forms.port_in_use_reason, port)
        if forms.whole(field.value, 0, MAX_PORT) == port and not self._starting and reason != field.reason:
            field.refuse(reason)
            self._weigh()

    def options(self) -> ServeOptions:
        """Return what the form says, which has to be usable."""
        return ServeOptions(
            folder=self.query_one(FolderField).path,
            port=int(self.query_one("#port", Field).value),
            file=forms.inner_path(self.query_one("#file", Field).value),
            read_only=self.query_one("#read-only", Tick).value,
            accept_first=self.query_one("#accept-first", Tick).value,
            rate_mbps=self.settings.config.rate_mbps,
        )

    async def begin(self, options: ServeOptions) -> int:
        """Serve, and remember what."""
        job = await self.bridge.serve(options)
        self.settings.state.served(options.folder, options.port)
        self.settings.save()
        return job

    def jobs(self, snapshot: Snapshot) -> "tuple[ServeStatus | EndedJob, ...]":
        """Return the folders that are served, and those that were until something went wrong."""
        ended = tuple(job for job in self.bridge.ended.values() if not job.address)
        return (*ended, *(job for job in snapshot.serving if job.id not in self.bridge.ended))
