"""What an exercise's answer must satisfy: one file per lesson, one function per exercise.

Importing this also makes a failing `assert` of a lesson say what to try.
"""

import dis
import inspect
from functools import wraps

import numpy as np
from IPython import get_ipython

NOTHING = {"RESUME", "NOP", "LOAD_CONST", "RETURN_CONST", "RETURN_VALUE"}  # what the bytecode of `def name(): ...` consists of

ADVICE = (
    "A claim of this lesson does not hold here. If you have changed something above, that may be the reason: put it back, then "
    "choose Kernel, Restart Kernel and Run All Cells. If you have changed nothing, please report it with the numbers above."
)


class NotRightYet(AssertionError):
    """What a check says of an answer."""

    def _render_traceback_(self):
        """What IPython shows: the words alone, as the lines of a check would give the answer away."""
        return [str(self)]


class NotDoneYet(NotRightYet):
    """The answer is still the function without a body that a student's notebook starts from."""


def expect(condition, message):
    """Raise NotRightYet with the message unless the condition holds: an `assert` that `python -O` does not take out."""
    __tracebackhide__ = True
    if not condition:
        raise NotRightYet(message)


def compare(where, received, expected, mistakes, otherwise):
    """Refuse numbers that are not the expected ones, with the one that is farthest off and a hint.

    received, expected: arrays of one shape. mistakes: {hint: what that mistake gives}; otherwise: the hint if it is none of them.
    """
    __tracebackhide__ = True

    def alike(result):
        return np.allclose(received, result, rtol=1e-6, atol=1e-6)

    hint = next((hint for hint, result in mistakes.items() if alike(result)), otherwise)
    away = np.nan_to_num(np.abs(received - expected), nan=np.inf)
    numbers = f"expected {expected.flat[away.argmax()]:.4g}, received {received.flat[away.argmax()]:.4g}"
    expect(alike(expected), f"{where}: {numbers}. Hint: {hint}")


def exercise(number):
    """Make a check of `check(answer)`, which raises NotRightYet with what was expected, what was received and a hint.

    The check praises an answer that passes. It raises NotDoneYet for `...` and for a function whose body does nothing, and
    NotRightYet also for what is no function, for a function that does something but returns None, and for one that is the
    library's own. `check` gets the latter as it is, so that it can recognise it, and all others in a wrapper. An exception
    within the answer is raised as it is, with the answer's own lines.
    """

    def decorate(check):
        name = check.__name__

        @wraps(check)
        def checked(answer):
            __tracebackhide__ = True  # IPython leaves this frame out
            if answer is ... or is_untouched(answer):
                raise NotDoneYet(
                    f"Exercise {number}: not done yet. In the cell above, put the body of `{name}` in the place of the dots, "
                    "run that cell, and then this one again."
                )
            ours = (getattr(answer, "__module__", None) or "").startswith("lessons_lib")
            try:
                expect(callable(answer), f"{name}: expected a function; received {type(answer).__name__}")
                check(answer if ours else _returning(answer, name))
                expect(not ours, f"{name}: expected code of your own; received one of the library's functions")
            except Exception as error:
                call = error.__traceback__
                while call and call.tb_frame.f_code.co_name != "returning":
                    call = call.tb_next
                if call and call.tb_next:
                    raise error.with_traceback(call.tb_next) from error.__cause__  # within the answer: its lines alone
                if call or isinstance(error, AssertionError):  # it cannot be called, or is wrong
                    raise NotRightYet(error) from None
                raise
            print(f"Exercise {number}: well done.")

        return checked

    return decorate


def is_untouched(answer):
    """Whether a function's body does nothing: it calls nothing, uses no argument and returns None."""
    if not inspect.isfunction(answer):
        return False
    body = list(dis.get_instructions(answer))
    constants = (step.argval for step in body if step.opname in ("LOAD_CONST", "RETURN_CONST"))
    return all(step.opname in NOTHING for step in body) and all(value is None for value in constants)


def _returning(answer, name):
    """The same function, which complains where it would return None."""

    @wraps(answer)
    def returning(*args, **kwargs):
        result = answer(*args, **kwargs)
        if result is None:
            raise NotRightYet(f"{name}: received None: does your function return its result?")
        return result

    return returning


def _advise(shell, kind, error, traceback, tb_offset=None):
    """What IPython does with an AssertionError: it shows it as always, and what to try, unless it is a check's."""
    if not isinstance(error, NotRightYet):
        error.add_note(ADVICE)
    shell.showtraceback((kind, error, traceback), tb_offset=tb_offset)


if get_ipython() is not None:
    get_ipython().set_custom_exc((AssertionError,), _advise)
