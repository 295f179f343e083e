"""One scan in a process of its own, measured from the inside. `benchmarks.scale` starts it.

    python -m benchmarks.scanned FOLDER RECORDS

Prints one line of JSON: seconds and CPU seconds of the scan, resident bytes before, at most and after, entries, bytes
of the records, and the seconds of an index with one changed directory.
"""

import argparse
import gc
import json
import os
import resource
import sys
import time
from pathlib import Path

from benchmarks.processes import resident_bytes
from leafsync.engine.disk.folder import Folder
from leafsync.engine.disk.hashing import Hasher
from leafsync.engine.disk.scan import rescan, scan
from leafsync.engine.disk.store import Store

KIB = 1024
"""What getrusage counts memory in."""


def main() -> int:
    """Scan and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("records", type=Path, help="the SQLite file; made when it is not there")
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.folder, arguments.records)))
    return 0


def measure(place: Path, records: Path) -> dict[str, float]:
    """Scan the folder at `place` once and return what that took."""
    with Folder.open(str(place)) as folder, Store.open(records) as store, Hasher() as hasher:
        gc.collect()
        before = resident_bytes(os.getpid())
        started, used = time.perf_counter(), time.process_time()
        found = scan(folder, store, hasher, now_ns=time.time_ns())
        seconds, cpu = time.perf_counter() - started, time.process_time() - used
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB
        gc.collect()
        after = resident_bytes(os.getpid())
        started = time.perf_counter()
        again = rescan(folder, store, hasher, previous=found, directories=[""], now_ns=time.time_ns())
        top = time.perf_counter() - started
        entries = again.index.entries
    return {
        "entries": entries,
        "hashed": found.hashed_files,
        "seconds": seconds,
        "cpu": cpu,
        "before": before,
        "peak": peak,
        "after": after,
        "records": records.stat().st_size,
        "rescan": top,
    }


if __name__ == "__main__":
    sys.exit(main())
