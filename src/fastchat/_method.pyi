"""Types of the compiled module."""

from collections.abc import Callable, Mapping
from typing import Any

def make_methods(
    functions: Mapping[str, Callable[..., Any]], capsules: Mapping[str, object]
) -> dict[str, Callable[..., Any]]: ...
def let_guard(method: Any) -> None: ...
def locked(function: Callable[..., Any]) -> Callable[..., Any]: ...
