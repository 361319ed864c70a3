"""Checks for the exercises of lesson 10."""

import numpy as np

from lessons_lib.checks import compare, exercise, expect


@exercise(4)
def guided(answer):
    """`answer(c, u, g)`: u + g (c - u), with one g for each picture (Ho and Salimans 2022, eq. 6)."""
    rng = np.random.default_rng(0)
    for shape in ((2, 1, 1, 1), (3, 2, 4, 1), (4, 2, 2, 4)):
        c, u = rng.normal(size=(2, *shape))
        for g in (np.linspace(0, 3, shape[0]), np.full(shape[0], 2.0)):
            each = g.reshape(-1, 1, 1, 1)
            mistakes = {
                "that counts from the conditional answer, so that g = 0 gives it and not the unconditional one.": c
                + each * (c - u),
                "that goes from c to u; g = 1 must give c.": c + each * (u - c),
                "g comes before the difference of both answers, not before c alone.": u + each * c,
                "the unconditional answer is missing.": each * (c - u),
            }
            before = c.copy(), u.copy(), g.copy()
            received = np.asarray(answer(c, u, g))
            expect(received.shape == shape, f"guided: expected shape {shape}; received {received.shape}")
            unchanged = all(np.array_equal(one, other) for one, other in zip((c, u, g), before, strict=True))
            expect(unchanged, "guided: expected c, u and g to stay as they are. Hint: += changes the array that it is given.")
            told = f"guided for shape {shape} with g = {np.round(g, 2).tolist()}"
            compare(told, received, u + each * (c - u), mistakes, "has each picture its own g, along the first axis?")


@exercise(5)
def drop_labels(answer):
    """`answer(labels, share, null, rng)`: each label replaced with that probability (Ho and Salimans 2022, algorithm 1)."""
    labels, rng = np.arange(20_000) % 10, np.random.default_rng(0)
    first = None
    for share, null in ((0.1, 10), (0.1, 10), (0.3, 99), (0.0, 10), (1.0, 10)):
        given = labels.copy()
        received = np.asarray(answer(given, share, null, rng))
        told = f"drop_labels with share {share}"
        fits = received.shape == labels.shape and received.dtype.kind in "iu"
        expect(fits, f"{told}: expected {len(labels)} integers; received {received.dtype} of shape {received.shape}")
        expect(np.array_equal(given, labels), f"{told}: expected the labels to stay as they are. Hint: change a copy.")
        dropped = received == null
        kept = np.array_equal(received[~dropped], labels[~dropped])
        expect(kept, f"{told}: a label that was not dropped has changed, or moved. Hint: `np.where` keeps the order.")
        found, error = dropped.mean(), np.sqrt(share * (1 - share) / len(labels))
        mistake = " Hint: that drops what should be kept." if abs(found - (1 - share)) <= 5 * error else ""
        expect(abs(found - share) <= 5 * error, f"{told}: dropped {found:.1%}.{mistake}")
        if 0 < share < 1:
            halves = dropped[: len(labels) // 2].mean() - dropped[len(labels) // 2 :].mean()
            expect(
                abs(halves) <= 10 * error, f"{told}: one half loses more labels than the other. Hint: draw for each by itself."
            )
            runs = np.mean(dropped[1:] & dropped[:-1])
            lone = abs(runs - share**2) <= 6 * np.sqrt(share**2 / len(labels))
            expect(lone, f"{told}: neighbours are not dropped independently. Hint: draw a number for each label.")
            by_label = np.array([dropped[labels == label].mean() for label in range(10)])
            expect(
                abs(by_label - share).max() <= 5 * error * np.sqrt(10), f"{told}: some labels are dropped more often than others."
            )
            again = first is not None and np.array_equal(first, dropped)
            expect(not again, f"{told}: two calls drop the same places. Hint: draw from `rng`, which goes on.")
            first = dropped


@exercise(6)
def answer_with(answer):
    """`answer(model, labels, g)`: a function that gives the guided answer of a network whose null label is 10."""
    rng = np.random.default_rng(0)
    table, x_t, t, labels = rng.normal(size=11), rng.normal(size=(3, 2, 2, 1)), np.array([5, 6, 7]), np.array([3, 0, 9])
    asked = []

    def model(x_t, t, labels):
        asked.append(np.array(labels))
        return x_t * np.reshape(t, (-1, 1, 1, 1)) + table[np.clip(labels, 0, 10)].reshape(-1, 1, 1, 1)

    for g in (3.0, 1.0, 0.0):
        asked.clear()
        made = answer(model, labels.copy(), g)
        expect(callable(made), f"answer_with: expected a function of (x_t, t); received {type(made).__name__}")
        received = np.asarray(made(x_t, t))
        expect(received.shape == x_t.shape, f"answer_with: expected shape {x_t.shape}; received {received.shape}")
        nulls = [told for told in asked if not np.array_equal(told, labels)]
        known = all(np.array_equal(told, [10, 10, 10]) for told in nulls)
        told = f"expected it to ask about the labels and [10, 10, 10]; received {nulls[0].tolist() if nulls else []}"
        expect(known, f"answer_with: {told}. Hint: which label stands for none?")
        c, u = model(x_t, t, labels), model(x_t, t, np.array([10, 10, 10]))
        mistakes = {
            "with g = 0 the labels must not matter; where does the sum begin?": c + g * (c - u),
            "guidance must lead towards the label, not away from it.": u - g * (c - u),
            "that leads from the label's answer to the other one.": c - g * (c - u),
        }
        compare(f"answer_with for g = {g:g}", received, u + g * (c - u), mistakes, "u, and from there g times the way to c.")
