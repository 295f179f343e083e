"""Pages hold everything in order, and never too much."""

from itertools import pairwise

from hypothesis import given, strategies as st

from leafsync.engine.core.paging import PAGE_BYTES, paged


def test_nothing_is_one_empty_page() -> None:
    assert list(paged([], len, 10)) == [([], True)]


def test_an_item_larger_than_a_page_has_its_own() -> None:
    assert list(paged([1, PAGE_BYTES + 1, 1], int, 10)) == [([1], False), ([PAGE_BYTES + 1], False), ([1], True)]


@given(st.lists(st.integers(0, PAGE_BYTES), max_size=60), st.integers(1, 7))
def test_every_item_comes_once_in_order_in_full_pages(costs: list[int], most: int) -> None:
    pages = list(paged(costs, int, most))
    assert [item for page, _last in pages for item in page] == costs
    assert [last for _page, last in pages] == [False] * (len(pages) - 1) + [True]
    for (page, _last), (following, _also) in pairwise(pages):
        assert len(page) == most or sum(page) + following[0] > PAGE_BYTES
    assert all(len(page) <= most and sum(page) <= PAGE_BYTES for page, _last in pages)
