"""`projector/patch_merge` keeps every promise of the slot `projector`."""

import omnikit.testing


def test_conformance() -> None:
    assert [str(result) for result in omnikit.testing.check("projector/patch_merge") if result.failed] == []
