"""What is installed, judged without a network: the lock against pyproject.toml, and against advisories from a file.

    python -m tests.audit [ADVISORIES.json ...]

A file is what `pip-audit --format json` printed, one OSV record, or a list of them (https://ossf.github.io/osv-schema/).
Exits with 1 when a locked version is known to be vulnerable, or the lock is not sound.
"""

import json
import re
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).parent.parent

LOCKED = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;\\]+)(?: *;[^\\]*)? *\\?$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}(?: \\)?$")


class LockMalformedError(ValueError):
    """A line of the lock is neither an exact version, nor a hash, nor a comment."""


@dataclass(frozen=True, slots=True)
class Locked:
    """One line of the lock, with the number of its hashes."""

    name: str
    version: Version
    hashes: int


def locked(text: str) -> dict[str, Locked]:
    """Return what a lock has, by normalized name. Raises LockMalformedError."""
    found: dict[str, Locked] = {}
    name = ""
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if match := LOCKED.match(line):
            name = canonicalize_name(match["name"])
            if name in found:
                raise LockMalformedError(f"{name} is there twice")
            found[name] = Locked(name, Version(match["version"]), 0)
        elif HASH.match(line) and name:
            found[name] = Locked(name, found[name].version, found[name].hashes + 1)
        else:
            raise LockMalformedError(f"not a locked version: {line}")
    return found


def required(project: dict[str, Any]) -> list[Requirement]:
    """Return what pyproject.toml asks for: to run, to develop, and to build."""
    groups = project.get("dependency-groups", {})
    lines = [line for group in groups.values() for line in group if isinstance(line, str)]
    return [Requirement(line) for line in (*project["project"]["dependencies"], *lines)]


def unsound(lock: dict[str, Locked], project: dict[str, Any]) -> list[str]:
    """Return what is wrong with a lock: what is asked for and not there, or without a hash."""
    wrong = [f"{each.name} has no hash" for each in lock.values() if not each.hashes]
    for requirement in required(project):
        have = lock.get(canonicalize_name(requirement.name))
        if have is None:
            wrong.append(f"{requirement.name} is not locked")
        elif have.version not in requirement.specifier:
            wrong.append(f"{requirement} is asked for, and {have.version} is locked")
    return wrong


def vulnerable(lock: dict[str, Locked], advisories: Any) -> Iterator[str]:
    """Yield the locked versions that an advisory file names. Raises ValueError when it is of neither format."""
    if isinstance(advisories, dict) and "dependencies" in advisories:
        yield from _by_pip_audit(lock, advisories["dependencies"])
        return
    for record in advisories if isinstance(advisories, list) else [advisories]:
        if not (isinstance(record, dict) and "affected" in record and "id" in record):
            raise ValueError("neither a report of pip-audit nor OSV records")
        for affected in record["affected"]:
            have = _named(lock, affected.get("package", {}))
            if have is not None and _is_affected(have.version, affected):
                yield f"{have.name} {have.version}: {record['id']}"


def _by_pip_audit(lock: dict[str, Locked], dependencies: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A report is of the versions it was made of: a later one is good only if a fix is known, and it has it."""
    for dependency in dependencies:
        have = lock.get(canonicalize_name(dependency["name"]))
        for found in dependency.get("vulns", []):
            fixes = [Version(text) for text in found.get("fix_versions", [])]
            if have is not None and all(have.version < fix for fix in fixes):
                yield f"{have.name} {have.version}: {found['id']}"


def _named(lock: dict[str, Locked], package: dict[str, str]) -> Locked | None:
    return lock.get(canonicalize_name(package.get("name", ""))) if package.get("ecosystem") == "PyPI" else None


def _is_affected(version: Version, affected: dict[str, Any]) -> bool:
    """Whether a version is listed, or in a range: from `introduced` until `fixed`, or up to `last_affected`."""
    if any(_same(version, text) for text in affected.get("versions", [])):
        return True
    ranges = [each["events"] for each in affected.get("ranges", []) if each.get("type") == "ECOSYSTEM"]
    return any(_is_within(version, events) for events in ranges)


def _same(version: Version, text: str) -> bool:
    try:
        return version == Version(text)
    except InvalidVersion:
        return False


def _is_within(version: Version, events: Sequence[dict[str, str]]) -> bool:
    """Whether the last event up to a version has left it vulnerable."""
    within = False
    for event in sorted(events, key=lambda event: Version(next(iter(event.values())))):
        kind, text = next(iter(event.items()))
        if kind == "introduced" and Version(text) <= version:
            within = True
        elif (kind == "fixed" and Version(text) <= version) or (kind == "last_affected" and Version(text) < version):
            within = False
    return within


def main(arguments: Sequence[str]) -> int:
    """Judge the lock of this repository, and say what is wrong."""
    lock = locked((ROOT / "requirements.lock").read_text())
    wrong = unsound(lock, tomllib.loads((ROOT / "pyproject.toml").read_text()))
    for path in arguments:
        wrong += vulnerable(lock, json.loads(Path(path).read_text()))
    sys.stdout.write("".join(f"{line}\n" for line in wrong) or f"{len(lock)} locked packages, nothing found\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
