"""What an exercise's answer must satisfy: one file per lesson, one function per exercise."""

import dis
import inspect
from functools import wraps

NOTHING = {"RESUME", "NOP", "LOAD_CONST", "RETURN_CONST", "RETURN_VALUE"}  # what the bytecode of `def name(): ...` consists of


class NotRightYet(AssertionError):
    """What a check says of an answer."""

    def _render_traceback_(self):
        """What IPython shows: the words alone, as the lines of a check would give the answer away."""
        return [str(self)]


class NotDoneYet(NotRightYet):
    """The answer is still the function without a body that a student's notebook starts from."""


def exercise(number):
    """Make a check of `check(answer)`, which raises AssertionError with what was expected, what was received and a hint.

    The check praises an answer that passes. It raises NotDoneYet for `...` and for a function whose body does nothing, and
    NotRightYet with the words of `check`, for what is no function, for a function that does something but returns None, and
    for one that is the library's own. `check` gets the latter as it is, so that it can recognise it, and all others in a
    wrapper. An exception within the answer is raised as it is, with the answer's own lines.
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
                assert callable(answer), f"{name}: expected a function; received {type(answer).__name__}"
                check(answer if ours else _returning(answer, name))
                assert not ours, f"{name}: expected code of your own; received one of the library's functions"
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
        assert result is not None, f"{name}: received None: does your function return its result?"
        return result

    return returning
