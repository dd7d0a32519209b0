"""`pytest --omnikit-conformance slot/name`: the conformance kit as tests, one id a promise.

pytest finds this module by its entry point; importing it costs nothing. Without files or folders on the command line,
the cases of the kit are the only tests.

  pytest --omnikit-conformance tokenizer/my_codec
  pytest --omnikit-conformance tokenizer/my_codec --omnikit-set dim=8 --omnikit-set levels=[4,4] -k batch
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from omnikit.testing.kit import Case, Subject


class Promise(pytest.Item):
    """One case of the kit, held against one component."""

    def __init__(self, *, case: Case, subject: Subject, **options: Any) -> None:
        super().__init__(**options)
        self.case, self.subject = case, subject

    def runtest(self) -> None:
        """Run the case: a broken promise fails, one that does not apply is skipped with its reason."""
        result = self.case.run(self.subject)
        if result.outcome == "not applicable":
            pytest.skip(result.detail)
        if result.failed:
            pytest.fail(str(result), pytrace=False)

    def reportinfo(self) -> tuple[str, None, str]:
        """Component and case, where pytest would show file and line."""
        return self.subject.component_id, None, f"{self.subject.component_id}::{self.case.name}"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the two options."""
    group = parser.getgroup("omnikit")
    group.addoption(
        "--omnikit-conformance",
        action="append",
        default=[],
        metavar="SLOT/NAME",
        help="hold a registered component to every promise of its slot, one test a promise",
    )
    group.addoption(
        "--omnikit-set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a constructor parameter of the component, to keep it small",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Collect nothing else where nothing else was asked for."""
    if config.getoption("--omnikit-conformance") and config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args = []


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add the cases, before anything is deselected."""
    items += list(_promises(session, config))


def _promises(session: pytest.Session, config: pytest.Config) -> Iterator[Promise]:
    ids = config.getoption("--omnikit-conformance")
    if not ids:
        return
    from omnikit.errors import OmnikitError
    from omnikit.testing import cases, subject
    from omnikit.testing.reports import parse_parameters

    try:
        parameters = parse_parameters(config.getoption("--omnikit-set"))
        for component_id in ids:
            held = subject(component_id, **parameters)
            for case in cases(component_id.split("/")[0]):
                name = f"{component_id}::{case.name}"
                yield Promise.from_parent(session, name=name, nodeid=name, case=case, subject=held)
    except OmnikitError as error:
        raise pytest.UsageError(str(error)) from error
