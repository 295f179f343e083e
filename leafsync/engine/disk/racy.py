"""Can a file's stat be relied on to show the next change (fault case 33)?"""

import os

RACY_NS = 2_000_000_000
"""Nanoseconds within which two changes of a file may have the same time (FAT stores even seconds)."""


def is_racy(stat: os.stat_result, now_ns: int) -> bool:
    """Say whether a file that was read has changed so short before `now_ns` (or after it) that it may change again
    without a new time: its hash is only good for this once.
    """
    return max(stat.st_mtime_ns, stat.st_ctime_ns) > now_ns - RACY_NS


def is_racy_write(stat: os.stat_result, mtime_ns: int) -> bool:
    """Say whether a change of a file that was just put in its place, with the time `mtime_ns`, may be without a trace.

    Only the renaming, at its ctime, was just now. Whoever writes to it gives it a modification time that is not before
    that, which shows unless `mtime_ns` is about as late. Where another time is found there, somebody has written to it
    already, or the filesystem does not keep times.
    """
    return stat.st_mtime_ns != mtime_ns or mtime_ns > stat.st_ctime_ns - RACY_NS
