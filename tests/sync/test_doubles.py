"""One key at two places at once."""

from dataclasses import dataclass

from leafsync.engine.sync.doubles import SETTLE, Doubles


@dataclass(eq=False)
class Heard:
    """A connection as it is looked at."""

    host: str
    peer_fingerprint: str = "f" * 64
    datagrams_received: int = 5

    @property
    def peer_address(self) -> tuple[str, int]:
        return self.host, 4455

    def speak(self) -> None:
        self.datagrams_received += 1


def later(doubles: Doubles, *contacts: Heard, silent: tuple[Heard, ...] = ()) -> dict[str, list[str]]:
    """Look twice, with everything settled and something heard of all but the `silent` in between."""
    first = doubles.look(contacts, 0.0)
    assert first == {}, "nothing is known at the first look"
    for contact in contacts:
        if contact not in silent:
            contact.speak()
    return doubles.look(contacts, SETTLE)


def test_two_hosts_that_both_speak_are_found() -> None:
    found = later(Doubles(), Heard("192.0.2.7"), Heard("192.0.2.1"))
    assert found == {"f" * 64: ["192.0.2.1", "192.0.2.7"]}


def test_one_host_with_two_connections_is_one_device() -> None:
    assert later(Doubles(), Heard("192.0.2.1"), Heard("192.0.2.1")) == {}


def test_two_keys_are_two_devices() -> None:
    assert later(Doubles(), Heard("192.0.2.1"), Heard("192.0.2.7", peer_fingerprint="a" * 64)) == {}


def test_a_device_that_came_from_a_new_address_leaves_a_silent_connection() -> None:
    left = Heard("192.0.2.1")
    assert later(Doubles(), left, Heard("198.51.100.1"), silent=(left,)) == {}


def test_what_was_under_way_does_not_count() -> None:
    doubles, left, new = Doubles(), Heard("192.0.2.1"), Heard("198.51.100.1")
    doubles.look([left, new], 0.0)
    left.speak()
    assert doubles.look([left, new], SETTLE - 0.1) == {}
    new.speak()
    assert doubles.look([left, new], SETTLE) == {}
    left.speak()
    assert doubles.look([left, new], SETTLE + 60) != {}


def test_another_connection_begins_the_wait_anew() -> None:
    doubles, one, two = Doubles(), Heard("192.0.2.1"), Heard("192.0.2.2")
    doubles.look([one, two], 0.0)
    third = Heard("192.0.2.3")
    for contact in (one, two):
        contact.speak()
    assert doubles.look([one, two, third], SETTLE) == {}
    for contact in (one, third):
        contact.speak()
    assert doubles.look([one, two, third], 2 * SETTLE) == {"f" * 64: ["192.0.2.1", "192.0.2.3"]}


def test_each_is_found_once() -> None:
    doubles, one, two = Doubles(), Heard("192.0.2.1"), Heard("192.0.2.2")
    assert later(doubles, one, two)
    assert later(doubles, one, two) == {}


def test_one_that_has_left_is_forgotten() -> None:
    doubles, one, two = Doubles(), Heard("192.0.2.1"), Heard("192.0.2.2")
    doubles.look([one, two], 0.0)
    doubles.look([one], 1.0)
    one.speak()
    two.speak()
    assert doubles.look([one, two], SETTLE) == {}, "they were not together all the time"
