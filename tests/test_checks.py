import numpy as np
import pytest

from lessons_lib.checks import lesson_01


@pytest.mark.parametrize(
    "right",
    [
        lambda n: [1 - i / n for i in range(n)],
        lambda n: np.linspace(1, 0, n, endpoint=False),
        lambda n: np.float32(np.arange(n, 0, -1) / n),
    ],
)
def test_a_right_answer_passes(right, capsys):
    lesson_01.amounts_left(right)
    assert "well done" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda n: np.linspace(1, 0, n), r"expected \[1.0, 0.5\] first; received \[1.0, 0.0\].*one part in n - i"),  # to 0
        (lambda n: [(1 - 1 / n) ** i for i in range(n)], "expected .* first; received .*one part in n - i"),  # 1/n of the rest
        (lambda n: np.linspace(1, 0, n + 1), r"expected 1 numbers, one before each step; received shape \(2,\)"),
        (lambda n: 1.0, r"received shape \(\)"),
    ],
)
def test_a_wrong_answer_is_told_what_was_expected(wrong, message):
    with pytest.raises(AssertionError, match=message):
        lesson_01.amounts_left(wrong)
