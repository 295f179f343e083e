"""The app as a whole: what belongs to none of its screens."""

from pathlib import Path

from tests.support import cast
from tests.support.stage import staged


async def test_a_tick_that_comes_while_the_app_closes_does_no_harm(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.jobs(cast.serving())
        await stage.open("serve")
        screen = stage.app.screen
        await stage.close()
        assert screen.is_mounted
        assert not screen.query("TopBar")
        stage.app._tick()
