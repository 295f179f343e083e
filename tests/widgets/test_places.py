"""Quick places: what user-dirs.dirs and /proc/mounts say, and what is made of them."""

from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from leafsync.widgets.places import MAX_MOUNTS, MAX_SYSTEM_FILE, Place, parse_mounts, parse_user_dirs, quick_places

HOME = "/home/ada"

MOUNTS = r"""proc /proc proc rw 0 0
sysfs /sys sysfs rw 0 0
tmpfs /run/user/1000 tmpfs rw 0 0
/dev/nvme0n1p2 / ext4 rw,relatime 0 0
/dev/nvme0n1p1 /boot/efi vfat rw 0 0
/dev/nvme0n1p3 /home ext4 rw 0 0
/dev/loop3 /snap/core22/1 squashfs ro 0 0
overlay /var/lib/docker/overlay2/x/merged overlay rw 0 0
/dev/vda1 /etc/hosts ext4 rw 0 0
nas:/export /srv/nas nfs4 rw 0 0
ada@host:/ /home/ada/remote fuse.sshfs rw 0 0
/dev/sdb1 /media/ada/My\040Stick\134here vfat rw 0 0
/dev/fuse /run/user/1000/doc fuse.portal rw 0 0
tank/data /tank zfs rw 0 0
tmpfs /mnt/ram tmpfs rw 0 0
gvfsd-fuse /run/user/1000/gvfs fuse.gvfsd-fuse rw 0 0
"""


def test_only_filesystems_of_people_are_offered() -> None:
    assert [place.path for place in parse_mounts(MOUNTS)] == [
        "/",
        "/media/ada/My Stick\\here",
        "/home",
        "/home/ada/remote",
        "/srv/nas",
        "/tank",
    ]


def test_a_mount_is_called_by_its_last_name_and_the_root_by_a_word() -> None:
    assert [place.name for place in parse_mounts(MOUNTS)][:3] == ["Filesystem", "My Stick\\here", "home"]
    assert all(place.drive for place in parse_mounts(MOUNTS))


@pytest.mark.parametrize(
    "line",
    [
        "tmpfs /tmp tmpfs rw 0 0",
        "/dev/sda1 /tmp ext4 rw 0 0",
        "/dev/sda1 /usr/share/x ext4 rw 0 0",
        "/dev/sda1 relative ext4 rw 0 0",
        "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0",
        "systemd-1 /mnt/auto autofs rw 0 0",
        "short /mnt/x",
        "",
    ],
)
def test_what_is_of_the_system_is_not_offered(line: str) -> None:
    assert parse_mounts(line) == ()


def test_no_more_mounts_are_offered_than_fit_and_drives_come_first() -> None:
    many = "".join(f"/dev/sd{at} /data/{at:03} ext4 rw 0 0\n" for at in range(100))
    places = parse_mounts(many + "/dev/sdz1 /media/ada/stick vfat rw 0 0\n")
    assert len(places) == MAX_MOUNTS
    assert places[0].path == "/media/ada/stick"


def test_a_mount_on_top_of_another_is_offered_once() -> None:
    text = "/dev/sda1 /data ext4 rw 0 0\n/dev/sdb1 /data xfs rw 0 0\n"
    assert [place.path for place in parse_mounts(text)] == ["/data"]


@given(st.text(max_size=300))
def test_no_text_makes_the_mounts_fail(text: str) -> None:
    assert all(place.path.startswith("/") for place in parse_mounts(text))


USER_DIRS = r"""# comment
XDG_DESKTOP_DIR="$HOME/Schreibtisch"
  XDG_DOWNLOAD_DIR="/data/in\"coming"   # another disk
XDG_MUSIC_DIR="$HOME"
XDG_PICTURES_DIR="$HOME/"
XDG_TEMPLATES_DIR="$HOME/Templates"
XDG_VIDEOS_DIR=unquoted
XDG_DOCUMENTS_DIR="relative/path"
"""


def test_user_dirs_are_read_as_the_shell_would() -> None:
    assert parse_user_dirs(USER_DIRS, HOME) == {
        "Desktop": "/home/ada/Schreibtisch",
        "Downloads": '/data/in"coming',
        "Music": "",
        "Pictures": "",
        "Documents": "",
    }


@given(st.text(max_size=300))
def test_no_text_makes_user_dirs_fail(text: str) -> None:
    for path in parse_user_dirs(text, HOME).values():
        assert path == "" or path.startswith("/")


@given(st.from_regex(r'\AXDG_MUSIC_DIR="[^"\\]{0,30}"\Z'))
def test_a_quoted_value_is_an_absolute_path_or_switched_off(line: str) -> None:
    found = parse_user_dirs(line, HOME)
    if "\n" not in line and "\r" not in line:
        assert all(path == "" or path.startswith("/") for path in found.values())


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    for name in ("Documents", "Bilder", ".config"):
        (home / name).mkdir(parents=True)
    (home / ".config/user-dirs.dirs").write_text(
        'XDG_PICTURES_DIR="$HOME/Bilder"\nXDG_MUSIC_DIR="$HOME"\nXDG_VIDEOS_DIR="$HOME/Filme"\n'
    )
    (home / "Music").mkdir()
    return home


def places_of(home: Path, mounts: str = "", environ: dict[str, str] | None = None) -> tuple[Place, ...]:
    file = home / "mounts"
    file.write_text(mounts)
    return quick_places(str(home), environ or {}, str(file))


def test_own_directories_that_exist_come_first(home: Path) -> None:
    places = places_of(home, "/dev/sda / ext4 rw 0 0\n")
    assert places == (
        Place("Home", str(home)),
        Place("Documents", str(home / "Documents")),
        Place("Pictures", str(home / "Bilder")),
        Place("Filesystem", "/", drive=True),
    )


def test_the_configuration_may_be_elsewhere(home: Path, tmp_path: Path) -> None:
    (tmp_path / "user-dirs.dirs").write_text(f'XDG_DESKTOP_DIR="{tmp_path}"\n')
    names = {place.name: place.path for place in places_of(home, environ={"XDG_CONFIG_HOME": str(tmp_path)})}
    assert names["Desktop"] == str(tmp_path)
    assert names["Music"] == str(home / "Music")


def test_a_mount_that_is_an_own_directory_is_offered_once(home: Path) -> None:
    places = places_of(home, f"/dev/sdb {home}/Documents ext4 rw 0 0\n")
    assert [place.path for place in places].count(str(home / "Documents")) == 1


def test_nothing_to_read_leaves_the_home(tmp_path: Path) -> None:
    places = quick_places(str(tmp_path), {}, str(tmp_path / "none"))
    assert places[0] == Place("Home", str(tmp_path))
    assert not [place for place in places if not place.drive][1:]


def test_a_system_file_without_end_is_read_to_a_limit(home: Path) -> None:
    line = "/dev/sda / ext4 rw 0 0\n"
    places = places_of(home, "#" * MAX_SYSTEM_FILE + "\n" + line)
    assert all(place.path != "/" for place in places)


def test_a_directory_that_cannot_be_looked_at_is_left_out(home: Path) -> None:
    (home / ".config/user-dirs.dirs").write_text(f'XDG_MUSIC_DIR="{home}/{"x" * 300}"\n')
    assert "Music" not in {place.name for place in places_of(home)}
