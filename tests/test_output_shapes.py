"""The methods of output, borrowed by other classes and patched.

Every test runs on the standard library too, where the interpreter has it; what fastchat does
differently on purpose is in test_differences_*.py.
"""

# The bases are known at run time only.
# mypy: disallow-subclassing-any=False

from __future__ import annotations

from collections import deque
from typing import Any
from unittest import mock

import pytest

from tests.support.channels import Stage
from tests.support.sending import Producer


@pytest.mark.parametrize("name", ["send", "initiate_send"])
def test_a_method_of_output_may_be_patched_on_the_class(stage: Stage, name: str) -> None:
    class Plain(stage.asynchat.async_chat):  # type: ignore[name-defined]
        pass

    mine, _ = stage.pair()
    chat = Plain(mine, stage.map)
    with mock.patch.object(Plain, name, return_value=4) as patched:
        chat.push(b"data")
    patched.assert_called_once_with(*([b"data"] if name == "send" else []))


def test_another_class_may_borrow_the_methods_of_output(stage: Stage) -> None:
    lender = stage.asynchat.async_chat

    class Borrower:
        connected = True
        use_encoding = 0
        ac_out_buffer_size = 4

        def __init__(self) -> None:
            self.producer_fifo: deque[Any] = deque()
            self.sent: list[bytes] = []

        push: Any = lender.push
        push_with_producer: Any = lender.push_with_producer
        initiate_send: Any = lender.initiate_send
        close_when_done: Any = lender.close_when_done
        writable: Any = lender.writable

        def send(self, data: bytes) -> int:
            self.sent.append(data)
            return len(data)

        def handle_close(self) -> None:
            self.sent.append(b"closed")

    borrower = Borrower()
    borrower.push(b"1234567890")
    borrower.push_with_producer(Producer(b"more"))
    borrower.close_when_done()
    while borrower.writable():
        borrower.initiate_send()
    assert borrower.sent == [b"1234", b"5678", b"90", b"more", b"closed"]


def test_a_class_with_slots_may_borrow_the_methods_of_output(stage: Stage) -> None:
    lender = stage.asynchat.async_chat

    class Slotted:
        __slots__ = ("producer_fifo", "sent")

        connected = True
        use_encoding = 0
        ac_out_buffer_size = 100

        push: Any = lender.push
        initiate_send: Any = lender.initiate_send

        def send(self: Any, data: bytes) -> int:
            self.sent.append(data)
            return len(data)

    borrower: Any = Slotted()
    borrower.producer_fifo = deque()
    borrower.sent = []
    borrower.push(b"data")
    assert borrower.sent == [b"data"]
