"""Cuts lists into pages that fit a frame."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from leafsync.engine.core.messages import MAX_FRAME

PAGE_BYTES = MAX_FRAME // 2
"""Bytes of the items of one page, by a generous estimate, so that the page never passes the frame's cap."""

T = TypeVar("T")


def paged(items: Iterable[T], cost: Callable[[T], int], most: int) -> Iterator[tuple[list[T], bool]]:
    """Yield (items, whether it is the last page) with at most `most` items a page; no items are one empty page.

    `cost` estimates the bytes of an item on the wire, never too low. An item that costs more than a page has its own.
    """
    page: list[T] = []
    size = 0
    for item in items:
        price = cost(item)
        if page and (len(page) >= most or size + price > PAGE_BYTES):
            yield page, False
            page, size = [], 0
        page.append(item)
        size += price
    yield page, True
