"""What every conformance suite shares: a plugin may lack a feature, with its reason; it may not rewrite a promise.

Subclass a suite in a test module, name it ``Test...``, and say there how to build the object under test.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar

import pytest

F = TypeVar("F", bound=Callable[..., Any])


def needs(*features: str) -> Callable[[F], F]:
    """Mark a test of a suite with the features it needs; a plugin that ``lacks`` one of them skips it."""

    def mark(test: F) -> F:
        vars(test)["needs"] = features
        return test

    return mark


@contextmanager
def nothing_left_over() -> Iterator[None]:
    """Fail if objects dropped in here were not closed before: trio tells of generators, Python of files."""
    gc.collect()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert [str(each.message) for each in seen] == []


class Suite:
    """Base of every suite. ``lacks`` maps a feature the plugin cannot have to the reason, which the skip shows."""

    lacks: ClassVar[Mapping[str, str]] = {}
    pytestmark: ClassVar[Any] = pytest.mark.anyio

    def __init_subclass__(cls, **options: Any) -> None:
        """Raise TypeError where a subclass replaces a test, or lacks a feature that no test needs."""
        super().__init_subclass__(**options)
        for name, test in vars(cls).items():
            inherited = any(name in vars(base) for base in cls.__mro__[1:])
            if name.startswith("test_") and inherited and not _is_expected_to_fail(test):
                raise TypeError(
                    f"{cls.__module__}.{cls.__qualname__}.{name} replaces a test of its conformance suite: "
                    "add tests under names of your own, or mark it pytest.mark.xfail(reason=...)"
                )
        known = {feature for name in dir(cls) for feature in getattr(getattr(cls, name), "needs", ())}
        if unknown := sorted(set(cls.lacks) - known):
            raise TypeError(
                f"{cls.__module__}.{cls.__qualname__}.lacks: no test needs {unknown} (features: {sorted(known)})"
            )

    @pytest.fixture(autouse=True)
    def _skip_what_is_lacking(self, request: pytest.FixtureRequest) -> None:
        for feature in getattr(request.function, "needs", ()):
            if feature in self.lacks:
                pytest.skip(f"lacks {feature}: {self.lacks[feature]}")


def _is_expected_to_fail(test: object) -> bool:
    marks: list[pytest.Mark] = getattr(test, "pytestmark", [])
    return any(mark.name == "xfail" and mark.kwargs.get("reason") for mark in marks)
