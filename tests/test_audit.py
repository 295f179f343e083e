"""The lock is sound, everything in it has hashes, and the audit finds what advisories name."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import canonicalize_name

from tests.audit import ROOT, LockMalformedError, locked, main, required, unsound, vulnerable

LOCK = (ROOT / "requirements.lock").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
HASH = "    --hash=sha256:" + "0" * 64
SMALL = locked(f"a-b==1.5 \\\n{HASH}\nc==2.0 ; sys_platform == 'win32' \\\n{HASH} \\\n{HASH}\n    # via a-b\n")


def test_the_lock_is_sound() -> None:
    assert unsound(locked(LOCK), PROJECT) == []


def test_nothing_is_installed_without_its_hash() -> None:
    makefile = (ROOT / "Makefile").read_text()
    installs = [line for line in makefile.splitlines() if "pip install" in line and "--editable ." not in line]
    assert installs
    assert all("--require-hashes -r requirements.lock" in line for line in installs)
    (own,) = [line for line in makefile.splitlines() if "--editable ." in line]
    assert "--no-deps --no-build-isolation" in own, "nothing else may come with our own package"
    assert [line for line in makefile.splitlines() if "pip compile" in line and "--generate-hashes" not in line] == []


def test_what_builds_the_package_is_locked_too() -> None:
    names = {canonicalize_name(requirement.name) for requirement in required(PROJECT)}
    assert {"hatchling", "editables"} <= names


def test_security_names_whom_we_trust() -> None:
    trusted = (ROOT / "SECURITY.md").read_text().partition("## What is trusted")[2].partition("\n## ")[0]
    for line in PROJECT["project"]["dependencies"]:
        assert f"**{line.partition('>')[0]}**" in trusted


def test_a_lock_is_read() -> None:
    assert {name: (str(each.version), each.hashes) for name, each in SMALL.items()} == {
        "a-b": ("1.5", 1),
        "c": ("2.0", 2),
    }


@pytest.mark.parametrize(
    "text",
    [
        "a>=1\n",
        "a @ https://example.org/a.whl\n",
        "-e .\n",
        f"{HASH}\n",
        "a==1\na==2\n",
        "a==1 \\\n    --hash=md5:00\n",
    ],
)
def test_what_is_no_exact_version_is_refused(text: str) -> None:
    with pytest.raises(LockMalformedError):
        locked(text)


@pytest.mark.parametrize(
    ("dependency", "complaint"),
    [("a_b>=1,<2", None), ("a-b>=1.6", "a-b>=1.6 is asked for, and 1.5 is locked"), ("d", "d is not locked")],
)
def test_the_lock_has_to_have_what_is_asked_for(dependency: str, complaint: str | None) -> None:
    assert unsound(SMALL, {"project": {"dependencies": [dependency]}}) == ([complaint] if complaint else [])


def test_a_version_without_a_hash_is_unsound() -> None:
    assert unsound(locked("a==1"), {"project": {"dependencies": ["a"]}}) == ["a has no hash"]


def osv(
    *events: dict[str, str], versions: tuple[str, ...] = (), ecosystem: str = "PyPI", name: str = "A_b"
) -> dict[str, Any]:
    ranges = [{"type": "ECOSYSTEM", "events": list(events)}] if events else []
    package = {"name": name, "ecosystem": ecosystem}
    return {"id": "X-1", "affected": [{"package": package, "ranges": ranges, "versions": list(versions)}]}


@pytest.mark.parametrize(
    ("advisories", "found"),
    [
        (osv({"introduced": "0"}), True),
        (osv({"introduced": "0"}, {"fixed": "1.5"}), False),
        (osv({"introduced": "0"}, {"fixed": "1.5.1"}), True),
        (osv({"introduced": "1.6"}), False),
        (osv({"introduced": "0"}, {"last_affected": "1.5"}), True),
        (osv({"introduced": "0"}, {"last_affected": "1.4"}), False),
        (osv({"introduced": "0"}, {"fixed": "1.0"}, {"introduced": "1.4"}, {"fixed": "1.7"}), True),
        (osv(versions=("1.5",)), True),
        (osv(versions=("1.4", "not a version")), False),
        (osv({"introduced": "0"}, ecosystem="npm"), False),
        (osv({"introduced": "0"}, name="other"), False),
        ([osv({"introduced": "9"}), osv({"introduced": "0"})], True),
        ({"dependencies": [{"name": "a-b", "version": "1.5", "vulns": []}]}, False),
        (
            {"dependencies": [{"name": "a.b", "version": "1.5", "vulns": [{"id": "X-1", "fix_versions": ["1.6"]}]}]},
            True,
        ),
        (
            {"dependencies": [{"name": "a-b", "version": "1.4", "vulns": [{"id": "X-1", "fix_versions": ["1.5"]}]}]},
            False,
        ),
        ({"dependencies": [{"name": "a-b", "version": "1.4", "vulns": [{"id": "X-1", "fix_versions": []}]}]}, True),
        ({"dependencies": [{"name": "z", "skip_reason": "unknown"}]}, False),
    ],
)
def test_advisories_are_heeded(advisories: Any, found: bool) -> None:
    assert list(vulnerable(SMALL, advisories)) == (["a-b 1.5: X-1"] if found else [])


@pytest.mark.parametrize("advisories", [{}, [1], {"affected": []}])
def test_what_is_no_advisory_is_not_taken_for_a_clean_bill(advisories: Any) -> None:
    with pytest.raises(ValueError, match="neither"):
        list(vulnerable(SMALL, advisories))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "nothing found" in capsys.readouterr().out
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps(osv({"introduced": "0"}, name="aioquic")))
    assert main([str(bad)]) == 1
    assert "aioquic" in capsys.readouterr().out
