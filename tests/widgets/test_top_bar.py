"""The line at the top: where one is, and what the engine does."""

import pytest
from msgspec.structs import replace
from rich.text import Text
from textual.app import App, ComposeResult

from leafsync.bridge import ConnectStatus, PassState, PeerStatus, ServeStatus, Snapshot
from leafsync.progress import Meter
from leafsync.widgets.top_bar import SCREENS, TopBar, state_text, wire_bytes
from tests.support.ui import screen_text

PEER = PeerStatus("ab" * 32, "nas", "10.0.0.2:1", "in sync", 10, 20)
SERVING = ServeStatus(1, "/s", 4455, (), read_only=False)
CONNECTED = ConnectStatus(2, "/f", "nas:1", PassState.IN_SYNC, peer=PEER)
WAITING = ConnectStatus(3, "/f", "nas:1", PassState.RECONNECTING)
PAUSED = ConnectStatus(4, "/f", "nas:1", PassState.PAUSED)

QUIET = Meter()


def meter(rate: int) -> Meter:
    """A meter that shows a rate."""
    made = Meter()
    made.add(0.0, 0)
    made.add(1.0, rate)
    return made


class Shown(App[None]):
    """A bar, and which screens were asked for."""

    def __init__(self, here: str = "serve", device: str = "desk") -> None:
        super().__init__()
        self.bar = TopBar(here, device)
        self.went: list[str] = []

    def compose(self) -> ComposeResult:
        yield self.bar

    def action_show_screen(self, name: str) -> None:
        self.went.append(name)


def line(app: Shown) -> str:
    return screen_text(app).split("\n")[0]


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (40, "  1 Serve  2  3  4          idle · desk"),
        (60, "  1 Serve  2 Connect  3 Trust  4 Transfers      idle · desk"),
        (80, " LeafSync   1 Serve  2 Connect  3 Trust  4 Transfers                idle · desk"),
    ],
)
async def test_it_says_what_fits(width: int, shown: str) -> None:
    app = Shown()
    async with app.run_test(size=(width, 3)):
        assert line(app) == shown


@pytest.mark.parametrize("name", [name for name, _title in SCREENS])
async def test_where_one_is_can_be_told_without_colours(name: str) -> None:
    app = Shown(name)
    async with app.run_test(size=(80, 3)):
        shown = app.bar.render()
        title = dict(SCREENS)[name]
        reverse = [shown.plain[span.start : span.end] for span in shown.spans if "reverse" in str(span.style)]
        assert [text.strip(" 1234") for text in reverse] == [title]


@pytest.mark.parametrize("width", [10, 20, 40, 46, 60, 74, 80, 120, 200])
async def test_it_fills_one_line_and_no_more(width: int) -> None:
    app = Shown(device="a very long name of a device, 日本語, that nobody wants to read in full")
    async with app.run_test(size=(width, 3)) as pilot:
        app.bar.state = "serving 2 · connected 3 · connecting 1 · paused 1 · 123.4 MB/s"
        await pilot.pause()
        shown = app.bar.render()
        assert isinstance(shown, Text)
        assert width < 40 or shown.cell_len <= width
        assert app.bar.size.height == 1


async def test_the_state_is_kept_when_the_name_has_no_room() -> None:
    app = Shown(device="x" * 64)
    async with app.run_test(size=(80, 3)) as pilot:
        app.bar.state = "serving 2"
        await pilot.pause()
        assert line(app).endswith(" serving 2")


@pytest.mark.parametrize(
    ("width", "said"),
    [
        (120, "serving 1 · connected 2 · 23.0 MB/s · desk"),
        (92, "serving 1 · connected 2 · 23.0 MB/s"),
        (80, "connected 2 · 23.0 MB/s"),
        (60, "23.0 MB/s"),
        (50, ""),
    ],
)
async def test_what_does_not_fit_is_left_out_as_a_whole(width: int, said: str) -> None:
    app = Shown()
    async with app.run_test(size=(width, 3)) as pilot:
        app.bar.state = "serving 1 · connected 2 · 23.0 MB/s"
        await pilot.pause()
        assert line(app).partition("Transfers")[2].strip() == said


async def test_the_screens_do_not_look_like_links() -> None:
    app = Shown()
    async with app.run_test(size=(80, 3)):
        styles = [segment.style for strip in app.screen._compositor.render_strips() for segment in strip]
        assert not any(style.underline for style in styles if style is not None)


async def test_the_name_of_the_device_is_escaped_and_no_markup() -> None:
    app = Shown(device="a\x1b[31m\u202e[b]")
    async with app.run_test(size=(120, 3)):
        assert line(app).endswith("idle · a\\x1b[31m\\u202e[b]")


async def test_a_click_goes_to_a_screen() -> None:
    app = Shown()
    async with app.run_test(size=(80, 3)) as pilot:
        for name, title in SCREENS:
            await pilot.click(TopBar, offset=(line(app).index(title), 0))
            assert app.went[-1] == name


def test_an_engine_without_jobs_does_nothing() -> None:
    assert state_text(Snapshot(0), QUIET) == ""
    assert wire_bytes(Snapshot(0)) == 0


@pytest.mark.parametrize(
    ("snapshot", "said"),
    [
        (Snapshot(1, serving=(SERVING,)), "serving 1"),
        (Snapshot(1, serving=(replace(SERVING, peers=(PEER, PEER)),)), "serving 1 · connected 2"),
        (Snapshot(1, serving=(replace(SERVING, paused=True),)), "paused 1"),
        (Snapshot(1, connecting=(CONNECTED,)), "connected 1"),
        (Snapshot(1, connecting=(WAITING,)), "connecting 1"),
        (Snapshot(1, connecting=(PAUSED,)), "paused 1"),
        (
            Snapshot(1, serving=(SERVING, replace(SERVING, paused=True)), connecting=(CONNECTED, WAITING, PAUSED)),
            "serving 1 · connected 1 · connecting 1 · paused 2",
        ),
    ],
)
def test_what_the_engine_does_in_a_few_words(snapshot: Snapshot, said: str) -> None:
    assert state_text(snapshot, QUIET) == said


def test_a_rate_is_said_when_something_moves() -> None:
    snapshot = Snapshot(1, connecting=(CONNECTED,))
    assert state_text(snapshot, meter(3_400_000)) == "connected 1 · 3.4 MB/s"
    assert state_text(snapshot, meter(999)) == "connected 1"  # keepalives


def test_all_bytes_on_the_wire_are_counted() -> None:
    serving = replace(SERVING, peers=(PEER, replace(PEER, wire_in=1, wire_out=2)))
    assert wire_bytes(Snapshot(1, serving=(serving,), connecting=(CONNECTED, WAITING))) == 63
