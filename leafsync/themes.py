"""Our own colours, dark and light. For a terminal that brings its own there are `ansi-dark` and `ansi-light`."""

from textual.theme import Theme


def _track(colour: str) -> dict[str, str]:
    """Return the colour of what a scrollbar moves on: the surface, not a black stripe beside it."""
    names = ("background", "background-hover", "background-active", "corner-color")
    return {f"scrollbar-{name}": colour for name in names}


DARK = Theme(
    name="leafsync-dark",
    primary="#7bc47f",
    secondary="#5fb3b3",
    accent="#e6c07b",
    success="#7bc47f",
    warning="#e6b450",
    error="#ef6b73",
    foreground="#d8dee9",
    background="#12171a",
    surface="#192024",
    panel="#242d32",
    dark=True,
    variables={
        "block-cursor-text-style": "none",
        "footer-key-foreground": "#7bc47f",
        "input-selection-background": "#7bc47f 35%",
        **_track("#192024"),
    },
)

LIGHT = Theme(
    name="leafsync-light",
    primary="#24692f",
    secondary="#1a6067",
    accent="#7a5000",
    success="#24692f",
    warning="#7a5000",
    error="#b3261e",
    foreground="#1f2a24",
    background="#f6f8f5",
    surface="#ecf1ea",
    panel="#dde6da",
    dark=False,
    variables={"block-cursor-text-style": "none", "footer-key-foreground": "#24692f", **_track("#ecf1ea")},
)

OURS = (DARK, LIGHT)

DEFAULT = DARK.name
"""The theme where config.toml names none."""
