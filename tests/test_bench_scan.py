"""The benchmark of bench/scan: that all contenders find the same, and that a miscount is noticed.

Nothing here is timed.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace

import pytest

pytest.importorskip("resource", reason="bench/serve is for Linux")

from bench.scan import contenders
from bench.scan import run as scanning
from bench.serve.engines import HAS_STDLIB

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="bench/serve is for Linux"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler"),
]


@pytest.mark.compiled
def test_all_contenders_find_the_same() -> None:
    loaded, absent = contenders.implementations()
    assert set(loaded) == {contenders.COMPILED, contenders.PYTHON} | (
        {contenders.STANDARD} if HAS_STDLIB else set()
    )
    assert bool(absent) != HAS_STDLIB
    searchers, missing = contenders.searchers(loaded)
    assert not missing
    for terminator in (b"\n", b"\r\n", b"\r\n.\r\n"):
        given = [scanning.lines(32, terminator, 4096)]
        given += scanning.pathological(terminator, 4096) if len(terminator) > 1 else []
        for each in given:
            each = replace(each, stream=each.stream[:9999])
            searching = scanning.search_task(each, searchers)
            assert set(searching.actions) == set(searchers)
            cutting = scanning.cut_task(each, contenders.cutters(loaded))
            assert set(cutting.actions) == {*loaded, contenders.SPLIT}
            timed = scanning.time_task(cutting, 2, 1e-6)
            assert all(len(taken) == 2 for taken in timed.seconds.values())


def test_a_miscount_ends_the_scan() -> None:
    given = scanning.lines(32, b"\n", 4096)
    with pytest.raises(scanning.Miscount, match="wrong finds 7 terminators"):
        scanning.search_task(given, {"wrong": lambda data, terminator, repeats: 7})
    with pytest.raises(scanning.Miscount, match="wrong finds"):
        scanning.cut_task(given, {"wrong": lambda feed, size, terminator, counts: (7, 7)})


def test_what_would_take_seconds_is_left_out() -> None:
    given = scanning.lines(8, b"\n", 2**20)
    task = scanning.cut_task(given, {contenders.STANDARD: lambda *_: (0, 0)})
    assert "would copy" in task.case.left_out[contenders.STANDARD]
    assert not task.actions
