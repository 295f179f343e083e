"""Everything a key does: the one list that bindings, the footer, the help, `[keymap]` and the README are made from."""

import unicodedata

import msgspec
from textual.binding import Binding
from textual.keys import KEY_NAME_REPLACEMENTS, Keys

MODIFIERS = frozenset({"ctrl", "shift", "alt", "super", "hyper", "meta"})
"""What a key can be held with, in textual's words."""

EVERYWHERE = {
    "ctrl+p": "opens the command palette",
    "tab": "goes to the next field",
    "shift+tab": "goes to the field before",
}
"""Keys that textual or our forms take before anything else hears of them, and what for."""

SENT_AS = {"ctrl+h": "backspace", "ctrl+i": "tab", "ctrl+m": "enter", "ctrl+left_square_bracket": "escape"}
"""Keys that most terminals send another one for: they are one control character (ECMA-48), so textual hears that."""


class Action(msgspec.Struct, frozen=True):
    """Something a key does."""

    id: str
    """Where it works and what it does: what `[keymap]` of config.toml calls it."""
    keys: str
    """Keys in textual's words, separated by commas."""
    label: str
    """In the footer: a word or two."""
    help: str
    """In a sentence."""
    shown: bool = True
    """Whether the footer has room for it."""
    rank: int = 3
    """Where the footer has no room for all, keys of a higher rank are left out first; the one of rank 0 never is."""


_ALL = (
    Action("app.serve", "1,f2", "Serve", "Go to the Serve screen.", shown=False),
    Action("app.connect", "2,f3", "Connect", "Go to the Connect screen.", shown=False),
    Action("app.trust", "3,f4", "Trust", "Go to the Trust screen.", shown=False),
    Action("app.transfers", "4,f5", "Transfers", "Go to the Transfers screen.", shown=False),
    Action("app.help", "question_mark,f1", "Help", "Show the keys, and what the focused thing is for.", rank=0),
    Action("app.quit", "q,ctrl+q", "Quit", "Quit; asks while files move.", rank=1),
    Action("form.start", "ctrl+s", "Start", "Start what the form says.", rank=1),
    Action("form.browse", "ctrl+o", "Browse", "Choose the folder or file of the focused field in a tree.", rank=2),
    Action("form.preview", "ctrl+r", "Preview", "Show what a pass would do, before anything moves.", rank=2),
    Action("form.recent", "ctrl+l", "Recent", "Choose from what was connected to before."),
    Action("form.leave", "escape", "Leave form", "Go from the form to the jobs, where letters are keys.", rank=1),
    Action("job.form", "escape,f", "To form", "Go from the jobs to the form.", rank=2),
    Action("job.stop", "x", "Stop", "Stop the job, or put away one that has ended.", rank=1),
    Action("job.pause", "p", "Pause", "Pause the job: connections close, what came is kept. Again: go on.", rank=1),
    Action("job.sync", "n", "Sync now", "Do a pass, or try to connect, without waiting.", rank=2),
    Action("job.history", "h", "History", "Show what passes did to the folder, and take one back."),
    Action("job.conflicts", "c", "Conflicts", "Show the conflict copies in the folder, and decide them."),
    Action("job.held", "d", "Deletes", "Show the deletes that are held back, and let them happen.", rank=2),
    Action("job.copy", "y", "Copy", "Copy the address or fingerprint to the clipboard.", rank=2),
    Action("trust.add", "a", "Add", "Trust a device by its fingerprint.", rank=1),
    Action("trust.rename", "r", "Rename", "Give the device another name."),
    Action("trust.permission", "e", "Permission", "Let the device only read, or write too.", rank=2),
    Action("trust.remove", "x,delete", "Remove", "Stop trusting the device; asks first.", rank=2),
    Action("trust.replace", "k", "New key", "Give the device its new key.", rank=4),
    Action("trust.copy", "y", "Copy", "Copy the fingerprint to the clipboard."),
    Action("transfers.filter", "slash", "Filter", "Show only transfers whose path has this text.", rank=1),
    Action("transfers.state", "f", "State", "Show only transfers in one state; again for the next state.", rank=2),
    Action("transfers.sort", "s", "Sort", "Sort by state, path, size or rate, one after the other.", rank=2),
    Action("transfers.details", "enter", "Details", "Show all there is to know of the transfer.", rank=1),
    Action("history.undo", "u", "Undo", "Take back what the pass did; asks first.", rank=1),
    Action("conflicts.this", "t", "Keep this", "Keep the version that has the name; the copy goes to the trash."),
    Action("conflicts.other", "o", "Keep other", "Give the copy the name; the version that had it goes to the trash."),
    Action("conflicts.both", "b", "Keep both", "Keep both; the copy gets an ordinary name."),
    Action("held.allow", "a", "Allow", "Let exactly these deletes happen; asks first.", rank=1),
    Action("picker.select", "ctrl+s", "Select", "Take what is marked.", rank=1),
    Action("picker.hidden", "ctrl+t", "Hidden", "Show hidden entries, or not."),
    Action("picker.up", "backspace", "Up", "Go to the directory above."),
    Action("picker.path", "slash", "Path", "Type a path; tab completes it."),
    Action("modal.close", "escape", "Close", "Close this without doing anything.", rank=1),
    Action("modal.yes", "y", "Yes", "Do what the window asks about."),
)

ACTIONS = {action.id: action for action in _ALL}
"""All actions, by id."""


def bind(action_id: str, method: str, *, priority: bool = False, shown: bool | None = None, label: str = "") -> Binding:
    """Return the binding of an action to the method `action_<method>` of what declares it.

    `label` says in the footer what it does there, where the action's own word would be wrong.
    """
    action = ACTIONS[action_id]
    return Binding(
        action.keys,
        method,
        label or action.label,
        id=action.id,
        tooltip=action.help,
        show=action.shown if shown is None else shown,
        priority=priority,
    )


def keymap_problem(action_id: str, keys: str) -> str:
    """Say why `[keymap]` cannot give an action these keys, "" when it can: a mistyped key would never be heard of."""
    if action_id not in ACTIONS:
        return f"nothing is called '{action_id}'"
    for key in _separate(keys):
        *held, name = _name_of(key).split("+")
        if name not in _key_names() or not MODIFIERS.issuperset(held):
            return f"there is no key '{key}'"
        if key in EVERYWHERE:
            return f"'{key}' {EVERYWHERE[key]}, wherever it is pressed"
        if _name_of(key) in SENT_AS:
            return f"a terminal sends {SENT_AS[_name_of(key)]} for '{key}'"
    return ""


def named(keys: str) -> str:
    """Return the keys that `[keymap]` gives an action in textual's words."""
    return ",".join(map(_name_of, _separate(keys)))


def _separate(keys: str) -> list[str]:
    """Return the keys; a comma alone is one."""
    return [","] if keys.strip() == "," else [key.strip() for key in keys.split(",")]


def _name_of(key: str) -> str:
    """Return what textual calls a key: `ctrl++` is `ctrl+plus`."""
    held, sign = key[:-1], key[-1:]
    return held + _word(sign) if not held or held.endswith("+") else key


def _word(sign: str) -> str:
    """Return what textual calls a character of ASCII; letters and digits are called what they are."""
    if not "!" <= sign <= "~" or sign.isalnum():
        return sign
    word = unicodedata.name(sign).lower().replace("-", "_").replace(" ", "_")
    return KEY_NAME_REPLACEMENTS.get(word, word)


def _key_names() -> set[str]:
    """Return what keys are called: letters and digits, and words like `f5`, `enter` and `question_mark`."""
    signs = {_word(chr(code)) for code in range(ord("!"), ord("~") + 1)}
    return signs | {key.value for key in Keys if key.value.isalnum()}
