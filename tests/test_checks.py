import numpy as np
import pytest

from lessons_lib.checks import lesson_01, lesson_02, lesson_03


def rates(betas):
    return np.sqrt(np.cumprod(np.append(1.0, 1 - betas)))


def noise(x_t, x_0, a):
    return (x_t - np.sqrt(a) * x_0) / np.sqrt(1 - a)


@pytest.mark.parametrize(
    ("check", "right"),
    [
        (lesson_01.amounts_left, lambda n: [1 - i / n for i in range(n)]),
        (lesson_01.amounts_left, lambda n: np.linspace(1, 0, n, endpoint=False)),
        (lesson_01.amounts_left, lambda n: np.float32(np.arange(n, 0, -1) / n)),
        (lesson_02.signal_rates, rates),
        (lesson_02.signal_rates, lambda betas: list(rates(betas))),
        (lesson_03.to_noise, noise),
    ],
)
def test_a_right_answer_passes(check, right, capsys):
    check(right)
    assert "well done" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("check", "wrong", "message"),
    [
        (lesson_01.amounts_left, lambda n: np.linspace(1, 0, n), r"expected \[1.0, 0.5\] first; received \[1.0, 0.0\].*Hint"),
        (lesson_01.amounts_left, lambda n: [(1 - 1 / n) ** i for i in range(n)], "received .*Hint: step i removes one part"),
        (lesson_01.amounts_left, lambda n: np.linspace(1, 0, n + 1), r"expected 1 numbers, .*; received shape \(2,\)"),
        (lesson_01.amounts_left, lambda n: 1.0, r"received shape \(\)"),
        (lesson_02.signal_rates, lambda b: rates(b)[1:], r"expected 2 numbers, the untouched image first; received shape \(1,\)"),
        (lesson_02.signal_rates, lambda b: rates(b) ** 2, "and 0.7071 last; received .* and 0.5000. Hint"),  # no root
        (lesson_02.signal_rates, lambda b: np.sqrt(np.append(1, 1 - b)), "Hint: each step multiplies"),  # alpha, not alpha_bar
        (lesson_02.signal_rates, lambda b: np.full(len(b) + 1, rates(b)[-1]), "Hint: each step"),  # the product to T
        (lesson_03.to_noise, lambda x_t, x_0, a: (x_t - np.sqrt(a) * x_0) / (1 - a), "off by up to .*Hint"),  # no root
        (lesson_03.to_noise, lambda x_t, x_0, a: (x_t - a * x_0) / np.sqrt(1 - a), "off by up to .*Hint"),
        (lesson_03.to_noise, lambda x_t, x_0, a: noise(x_t, x_0, a)[0], "expected the shape of x_t"),
    ],
)
def test_a_wrong_answer_is_told_what_was_expected(check, wrong, message):
    with pytest.raises(AssertionError, match=message):
        check(wrong)
