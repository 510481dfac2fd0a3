"""A pytest plugin: runs the suite in a process that gevent or eventlet has patched.

    python -m pytest -p tests.support.patched --patched gevent-before

"before" patches, and lets fastchat be imported then, as programs of theirs do; "after" imports
both implementations and patches then.  Tests that are about what such a patch takes away are left
out: ``UNFIT`` has the kinds, with the reasons.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pytest  # takes long, and who only patches has no use for it


def patch_with_gevent() -> None:
    """Patch as its users do."""
    from gevent import monkey  # noqa: PLC0415 (only where it is asked for)

    with warnings.catch_warnings():
        # pytest has imported ssl; nothing of it is in use yet, which is what the warning is about.
        warnings.simplefilter("ignore", monkey.MonkeyPatchWarning)
        monkey.patch_all()


def import_eventlet() -> Any:
    """The module."""
    with warnings.catch_warnings():
        # It says on import that it is deprecated, by a warning of a class of its own.
        warnings.filterwarnings("ignore", r"\s*Eventlet is deprecated")
        return importlib.import_module("eventlet")


def patch_with_eventlet() -> None:
    """Patch as its users do."""
    import_eventlet().monkey_patch()


def _import_both() -> None:
    from tests.support.implementations import FASTCHAT, load  # noqa: PLC0415 (not before the patch)

    for name in FASTCHAT:
        load(name)


def _in_order(*steps: Callable[[], None]) -> None:
    for step in steps:
        step()


class Kind(NamedTuple):
    """Tests that are left out of a patched process: why, where *by* has patched, and which.

    *by* is "gevent", "eventlet", or "" for both; a name is the beginning of that of a test.
    """

    why: str
    by: str
    names: tuple[str, ...]


UNFIT = (
    Kind("they are about asyncio's event loops, which nothing patches", "", ("tests/test_aio_",)),
    Kind(
        "they start programs of their own, which nothing has patched",
        "",
        (
            "tests/test_aliases.py",
            "tests/test_backend.py",
            "tests/test_bench.py",
            "tests/test_bench_lines.py",
            "tests/test_bench_rivals.py",
            "tests/test_bench_results.py",
            "tests/test_bench_scan.py",
            "tests/test_bench_serve.py",
            "tests/test_bench_waited.py",
            "tests/test_build.py",
            "tests/test_cli_",
            "tests/test_cpython_suite.py",
            "tests/test_demo.py",
            "tests/test_docs_code.py",
            "tests/test_docs_names.py",
            "tests/test_docs_rows.py",
            "tests/test_examples_",
            "tests/test_packaging.py",
            "tests/test_sanitizer.py",
            "tests/test_sockets_of_others.py",
            "tests/test_types.py",
        ),
    ),
    Kind(
        "output is held for sockets of the standard class only",
        "",
        ("tests/test_coalescing_", "tests/test_endings.py"),
    ),
    Kind(
        "nothing is kept between passes where another way to wait is in the place of the system's",
        "",
        (
            "tests/test_corners.py",
            "tests/test_pollers_",
            "tests/test_loops.py",
            "tests/test_watch_",
        ),
    ),
    Kind(
        "they look at what the methods of the standard class call",
        "",
        (
            "tests/test_dispatcher_connections.py::test_accept_is_that_of_the_class_of_sockets",
            "tests/test_dispatcher_connections.py::test_accept_makes_a_socket_of_the_class",
        ),
    ),
    Kind(
        "the poll() of gevent knows input and room for output, but no end and nothing urgent",
        "gevent",
        (
            "tests/test_differences_close.py::test_d6",
            "tests/test_differences_descriptors.py::test_d9_a_closed_descriptor_costs_one_channel",
            "tests/test_differences_exceptions.py::test_d10_what_leaves_an_overridden_handle_error",
            "tests/test_differences_hangup.py",
            "tests/test_differences_urgent.py",
        ),
    ),
    Kind(
        "the select() of eventlet tells of one event a wait, of nothing urgent, and leaves what it "
        "waits for behind where a descriptor is closed",
        "eventlet",
        (
            "tests/test_accepting.py::test_a_new_channel_does_not_get_the_event_of_who_had_its",
            "tests/test_differences_close.py::test_d6_a_handle_close_that_does_not_close_is_called",
            "tests/test_differences_descriptors.py",
            "tests/test_differences_exceptions.py::test_d10_a_handle_error_that_was_patched_into",
            "tests/test_differences_urgent.py",
            "tests/test_files.py::test_a_regular_file_is_always_ready",
            "tests/test_loop_events.py::test_a_channel_",
            "tests/test_loop_passes.py::test_a_channel_",
            "tests/test_loop_events.py::test_a_failing_handler_is_told_to_handle_error",
            "tests/test_loop_events.py::test_a_handler_may_run_the_loop_itself",
            "tests/test_loop_passes.py::test_a_negative_timeout",
            "tests/test_loop_events.py::test_any_true_answer_is_a_yes",
            "tests/test_loop_events.py::test_every_channel_is_asked_on_every_pass_readable_first",
            "tests/test_loop_events.py::test_select_serves_all_input_before_any_output",
            "tests/test_overrides.py",
            "tests/test_regressions_data.py::test_a_",
            "tests/test_regressions_loop.py::test_a_",
            "tests/test_regressions_maps.py::test_a_",
        ),
    ),
    Kind(
        "the sockets of eventlet close themselves when nobody has them, and are no subclass",
        "eventlet",
        (
            "tests/test_chat_shapes.py::test_a_chat_may_have_a_mock_for_a_socket",
            "tests/test_dispatcher_shapes.py::test_a_channel_with_a_registration_of_its_own",
            "tests/test_dispatcher_shapes.py::test_a_channel_whose_socket_is_set_by_hand",
            "tests/test_dispatcher_shapes.py::test_a_channel_that_connects_again_in_handle_close",
        ),
    ),
    Kind(
        "the os.close() of gevent lets the hub close the descriptor, later",
        "gevent",
        (
            "tests/test_files.py::test_a_closed_descriptor_is_refused",
            "tests/test_files.py::test_a_wrapper_that_nobody_closed",
            "tests/test_files.py::test_closing_a_wrapper_",
        ),
    ),
    Kind(
        "threads that wait for each other without a hub that knows of it",
        "",
        ("tests/test_threads.py",),
    ),
    Kind(
        "what a signal handler raises is raised in the hub, and handled there",
        "",
        ("tests/test_signals_",),
    ),
)


ORDERS = {
    f"{patch.__name__.removeprefix('patch_with_')}-{order}": partial(_in_order, *steps)
    for patch in (patch_with_gevent, patch_with_eventlet)
    for order, steps in (("before", (patch,)), ("after", (_import_both, patch)))
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--patched", choices=ORDERS, help="who patches, and when: see tests/support/patched.py"
    )


def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Patch before anything of ours is imported; pytest imports conftest.py in this hook, last."""
    patched = early_config.known_args_namespace.patched
    if patched:
        ORDERS[patched]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect, rather than skip, what is not about a patched process."""
    patched = config.getoption("--patched")
    if not patched:
        return
    names = [name for kind in UNFIT if kind.by in patched for name in kind.names]
    unfit = [item for item in items if item.nodeid.startswith(tuple(names))]
    _check_that_each_says_something(names, items)
    config.hook.pytest_deselected(items=unfit)
    items[:] = [item for item in items if item not in set(unfit)]


def _check_that_each_says_something(names: list[str], items: list[pytest.Item]) -> None:
    collected = {item.nodeid.partition("::")[0] for item in items}
    for name in names:
        if name.partition("::")[0] in collected:
            assert any(item.nodeid.startswith(name) for item in items), f"no test is named {name}"


def pytest_runtest_teardown() -> None:
    """Let eventlet forget what a test left to it, which would fail the next one.

    Its ``select`` leaves behind what it waited for where one of the descriptors is closed.
    """
    if "eventlet" in sys.modules:
        listeners = sys.modules["eventlet.hubs"].get_hub().listeners
        for waiting in listeners.values():
            waiting.clear()
