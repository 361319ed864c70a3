"""What an exercise's answer must satisfy: one file per lesson, one function per exercise."""

from functools import wraps


class NotDoneYet(AssertionError):
    """The answer is still the `...` that a student's notebook has in its place."""


def exercise(number):
    """Make a check of `check(answer)`, which raises AssertionError with what was expected, what was received and a hint.

    It praises an answer that passes, and raises NotDoneYet for `...`.
    """

    def decorate(check):
        @wraps(check)
        def checked(answer):
            if answer is ...:
                raise NotDoneYet(
                    f"Exercise {number}: not done yet. In the cell above, put your code for `{check.__name__}` in the place of "
                    "the dots, run that cell, and then this one again."
                )
            check(answer)
            print(f"Exercise {number}: well done.")

        return checked

    return decorate
