"""Fuzz one target, or all in turn, and keep what finds something.

    python -m tests.fuzz.run [TARGET ...] [--seconds 60]

With atheris installed (`pip install atheris`) inputs are chosen by the code they reach; without it they are made by
changing those of the corpus at random. An input that breaks something is written to the current directory.
"""

import argparse
import importlib
import importlib.util
import multiprocessing
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"

LONGEST = 4096
"""Bytes of an input: everything that is read in one piece here is shorter, or repeats."""

CHANGES = 8
"""Changes made to one input at most."""


def seeds(name: str) -> list[bytes]:
    """Return the corpus of a target."""
    return [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))]


def mutated(dice: random.Random, known: Sequence[bytes]) -> bytes:
    """Return an input like one of those known."""
    data = bytearray(dice.choice(known)) if known else bytearray()
    for _change in range(dice.randint(1, CHANGES)):
        at = dice.randint(0, len(data))
        match dice.randrange(5):
            case 0 if data:
                data[at % len(data)] ^= 1 << dice.randrange(8)
            case 1:
                data[at:at] = dice.randbytes(dice.randint(1, 8))
            case 2:
                del data[at : at + dice.randint(1, 8)]
            case 3 if known:
                other = dice.choice(known)
                start = dice.randint(0, len(other))
                data[at:at] = other[start : start + dice.randint(1, 64)]
            case _ if data:
                data[at % len(data)] = dice.choice((0, 1, 0x7F, 0x80, 0xFF))
    return bytes(data[:LONGEST])


def blindly(name: str, seconds: float, seed: int) -> int:
    """Fuzz without knowing what code is reached; return how many inputs were tried."""
    from tests.fuzz.targets import TARGETS

    dice, known, count = random.Random(seed), seeds(name), 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        data = mutated(dice, known)
        try:
            TARGETS[name](data)
        except BaseException:
            Path(f"crash-{name}-{count}").write_bytes(data)
            raise
        count += 1
    return count


def guided(name: str, seconds: float, seed: int) -> None:
    """Fuzz with atheris; it ends the process."""
    atheris = importlib.import_module("atheris")  # not among the dependencies: it has wheels for few platforms

    with atheris.instrument_imports(include=["leafsync", "aioquic.quic"]):
        from tests.fuzz.targets import TARGETS
    corpus = CORPUS / name
    corpus.mkdir(parents=True, exist_ok=True)
    options = [f"-max_total_time={seconds:.0f}", f"-seed={seed}", f"-max_len={LONGEST}", f"-artifact_prefix={name}-"]
    atheris.Setup([sys.argv[0], *options, "-reduce_inputs=1", str(corpus)], TARGETS[name])
    atheris.Fuzz()


def main() -> int:
    """Fuzz, one process a target, and say which of them found something."""
    from tests.fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)} (default: all)")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if unknown := set(options.targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    fuzz = guided if importlib.util.find_spec("atheris") is not None else blindly
    found = []
    for name in options.targets or TARGETS:
        process = multiprocessing.get_context("spawn").Process(target=fuzz, args=(name, options.seconds, options.seed))
        process.start()
        process.join()
        if process.exitcode:
            found.append(name)
    sys.stderr.write(f"found something: {', '.join(found) or 'nothing'}\n")
    return bool(found)


if __name__ == "__main__":
    raise SystemExit(main())
