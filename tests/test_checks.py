import numpy as np
import pytest

from lessons_lib.checks import lesson_01


def epoch_means(losses, steps):
    return [sum(losses[i : i + steps]) / steps for i in range(0, len(losses) - steps + 1, steps)]


def test_a_right_answer_passes(capsys):
    lesson_01.epoch_means(epoch_means)
    assert "well done" in capsys.readouterr().out


@pytest.mark.parametrize(
    "wrong",
    [
        lambda losses, steps: [sum(losses[i : i + steps]) / 256 for i in range(0, len(losses) - steps + 1, steps)],  # the article
        lambda losses, steps: [sum(losses[i : i + steps]) / steps for i in range(0, len(losses), steps)],  # a cut epoch too
        lambda losses, steps: float(np.mean(losses)),
        lambda losses, steps: None,
    ],
)
def test_a_wrong_answer_is_told_what_was_expected(wrong):
    with pytest.raises(AssertionError, match=r"expected \[.*received .*\. Divide each epoch's sum"):
        lesson_01.epoch_means(wrong)
