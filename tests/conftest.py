"""Options and start-up of the suite. omnikit is imported here, so that its hook stands before torchvision loads."""

from __future__ import annotations

import pytest

import omnikit  # noqa: F401


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("golden data")
    group.addoption("--golden-dir", metavar="DIR", help="golden data to check (default: tests/golden/data)")
    group.addoption("--golden-report", metavar="FILE", help="write every tensor's error to this JSON file")
