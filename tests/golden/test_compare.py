"""The comparison itself: it must notice each kind of difference, and everything that nobody looked at."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from golden.compare import VALUES, Golden, checker_of, checks, file_ids


@pytest.fixture
def made(tmp_path: Path) -> Golden:
    """A golden file with a float, an integer and a nearly zero tensor."""
    (tmp_path / "speech").mkdir()
    tensors = {"wave": torch.tensor([0.5, -2.0, 1.0]), "ids": torch.tensor([3, 1, 4]), "noise": torch.tensor([1e-9])}
    save_file(tensors, tmp_path / "speech" / "part.safetensors")
    (tmp_path / "speech" / "part.json").write_text(json.dumps({"levels": [3, 4]}))
    return Golden("speech/part", tmp_path)


def use_all(golden: Golden) -> None:
    golden.close("wave", torch.tensor([0.5, -2.0, 1.0 + 1e-5]))
    golden.exact("ids", torch.tensor([3, 1, 4], dtype=torch.int32))
    golden.close("noise", torch.tensor([2e-9]))
    golden.equal("levels", golden.meta["levels"], [3, 4])


def test_what_matches_has_no_problem(made: Golden) -> None:
    use_all(made)
    assert made.problems() == []
    assert made.rows[0].error == pytest.approx(0.5e-5, rel=0.02)


@pytest.mark.parametrize(
    ("got", "complaint"),
    [
        (torch.tensor([0.5, -2.0, 1.0 + 5e-5]), "too far"),
        (torch.tensor([0.5, -2.0, float("nan")]), "too far"),
        (torch.tensor([0.5, -2.0, float("inf")]), "too far"),
        (torch.tensor([[0.5, -2.0, 1.0]]), "shape (1, 3), expected (3,)"),
    ],
)
def test_a_wrong_float_is_noticed(made: Golden, got: torch.Tensor, complaint: str) -> None:
    use_all(made)
    made.close("wave", got, VALUES)
    assert len(made.problems()) == 1
    assert complaint in made.problems()[0]


def test_only_valid_positions_count(made: Golden) -> None:
    use_all(made)
    made.close("wave", torch.tensor([0.5, -2.0, 7.0]), valid=torch.tensor([True, True, False]))
    made.exact("ids", torch.tensor([3, 1, 0]), valid=torch.tensor([True, True, False]))
    assert made.problems() == []
    made.close("wave", torch.tensor([0.5, -2.0, 7.0]), valid=torch.tensor([False, False, False]))
    assert "nothing to compare" in made.problems()[0]


def test_one_wrong_integer_is_noticed(made: Golden) -> None:
    use_all(made)
    made.exact("ids", torch.tensor([3, 1, 5]))
    assert "1 of 3 differ" in made.problems()[0]


def test_a_zero_reference_asks_for_zero(made: Golden) -> None:
    use_all(made)
    made.close("noise", torch.tensor([1e-3]))
    assert "expected zero" in made.problems()[0]


def test_a_wrong_plain_value_is_noticed(made: Golden) -> None:
    use_all(made)
    made.equal("levels", [8, 8], made.meta["levels"])
    assert "got [8, 8], expected [3, 4]" in made.problems()[0]


def test_a_tensor_that_nobody_looked_at_is_a_problem(made: Golden) -> None:
    made.close("wave", made["wave"])
    made.leave("no*", "noise")
    assert made.problems() == ["neither compared nor left out: ids"]


def test_leaving_out_what_was_compared_is_a_problem(made: Golden) -> None:
    use_all(made)
    made.leave("wave", "no reason")
    assert made.problems() == ["left out, but every such tensor was used: wave"]


def test_a_checker_that_compares_nothing_is_a_problem(made: Golden) -> None:
    made.leave("*", "everything")
    assert made.problems() == ["the checker compared nothing"]


def test_ids_join_twins_and_show_strange_files(made: Golden) -> None:
    (made.folder / "omni").mkdir()
    for name in ("projectors.json", "projector_x.safetensors", "README.md", "odd.npz"):
        (made.folder / "omni" / name).write_bytes(b"")
    assert file_ids(made.folder) == ["omni/odd.npz", "omni/projector_x", "speech/part"]


def test_files_described_together_find_their_entry(made: Golden) -> None:
    (made.folder / "omni").mkdir()
    entries = [{"file": "projector_a.safetensors", "width": 1}, {"file": "projector_b.safetensors", "width": 2}]
    (made.folder / "omni" / "projectors.json").write_text(json.dumps(entries))
    assert Golden("omni/projector_b", made.folder).meta["width"] == 2


def test_an_exact_name_goes_before_a_pattern(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("golden.compare._CHECKERS", {})
    any_part = checks("speech/p*")(lambda golden: None)
    part = checks("speech/part")(lambda golden: None)
    assert checker_of("speech/part") is part
    assert checker_of("speech/pa") is any_part
    assert checker_of("omni/part") is None
    with pytest.raises(ValueError, match="two checkers"):
        checks("speech/part")(lambda golden: None)
