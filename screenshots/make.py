"""Make the pictures of the README and of all scenes, from the real app: `make screenshots`."""

import asyncio
import sys
import tempfile
from pathlib import Path

import resvg_py

from tests.support.pictures import svg
from tests.support.scenes import SCENES, played

HERE = Path(__file__).parent

SIZE = (100, 30)
"""Columns and rows: a window as people have it, and still to be read in a README."""

PAINTED = ("serve", "connect", "trust", "transfers", "fingerprint")
"""Scenes that there is a PNG of as well, for where no SVG is shown."""

SHARPNESS = 2
"""Dots of a PNG for each unit of its SVG."""

QUIET = 0.4
"""Seconds that a scene is given to come to rest: longer than anything that redraws itself."""


async def picture(scene: str) -> str:
    """Return the SVG of a scene."""
    with tempfile.TemporaryDirectory() as home:
        async with played(scene, Path(home), size=SIZE) as stage:
            await stage.pilot.pause(QUIET)
            await stage.tick()
            return svg(stage.app, title=SCENES[scene].title)


def paint(drawing: str) -> bytes:
    """Return a PNG of an SVG, in whatever font for terminals there is here."""
    return bytes(resvg_py.svg_to_bytes(svg_string=drawing, zoom=SHARPNESS, monospace_family="DejaVu Sans Mono"))


def main() -> int:
    """Write all pictures, and remove those of scenes that are no more."""
    made = set()
    for scene in SCENES:
        path = HERE / f"{scene}.svg"
        path.write_text(asyncio.run(picture(scene)), encoding="utf-8")
        made.add(path)
        if scene in PAINTED:
            path.with_suffix(".png").write_bytes(paint(path.read_text(encoding="utf-8")))
            made.add(path.with_suffix(".png"))
    for path in {*HERE.glob("*.svg"), *HERE.glob("*.png")} - made:
        path.unlink()
    print(f"{len(made)} pictures in {HERE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
