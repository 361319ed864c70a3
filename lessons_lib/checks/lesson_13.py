"""Checks for the exercises of lesson 13."""

import numpy as np

from lessons_lib.checks import compare, exercise, expect


@exercise(4)
def masked_mean(answer):
    """`answer(vectors, tokens)`: the mean of each caption's vectors, (B, K, C) to (B, C), padding left out."""
    rng = np.random.default_rng(0)
    for lengths, width, channels in (((3, 1, 5), 6, 4), ((2, 2), 2, 3), ((7, 4, 1, 2), 9, 2)):
        count = len(lengths)
        vectors, seen = rng.normal(size=(count, width, channels)), np.arange(width) < np.reshape(lengths, (count, 1))
        tokens = np.where(seen, rng.integers(2, 50, (count, width)), 0)
        tokens[:, 0] = 1
        expected = np.stack([one[:length].mean(axis=0) for one, length in zip(vectors, lengths, strict=True)])
        received = np.asarray(answer(vectors.copy(), tokens.copy()))
        told = f"masked_mean of {count} captions of {width} tokens"
        expect(received.shape == (count, channels), f"{told}: expected shape {(count, channels)}; received {received.shape}")
        mistakes = {
            "the mean of what is seen, not of all positions: padding counts here.": vectors.mean(axis=1),
            "divide by the number of tokens that are seen, not by the length of the row.": (vectors * seen[..., None]).mean(
                axis=1
            ),
            "a mean, not a sum.": (vectors * seen[..., None]).sum(axis=1),
            "each caption has a length of its own.": (vectors * seen[..., None]).sum(axis=1) / np.mean(lengths),
            "the start is a token, too.": (vectors * (tokens > 1)[..., None]).sum(axis=1) / np.reshape(lengths, (count, 1)),
        }
        compare(told, received, expected, mistakes, "a token that is 0 is padding.")


@exercise(5)
def corrected_share(answer):
    """`answer(observed, sensitivity, false_positives)`: the true share (Rogan and Gladen 1978)."""
    for observed, sensitivity, false_positives in ((0.8, 0.92, 0.01), (0.5, 0.9, 0.1), (0.3, 0.75, 0.05), (0.6, 0.95, 0.02)):
        told = f"corrected_share({observed}, {sensitivity}, {false_positives})"
        received = np.asarray(answer(observed, sensitivity, false_positives))
        expect(received.shape == (), f"{told}: expected one number; received shape {received.shape}")
        gap = sensitivity - false_positives
        mistakes = {
            "what is read wrongly as right is part of what was observed: take it away.": observed / sensitivity,
            "the denominator, too: what is wrong is sometimes read as right.": (observed - false_positives) / sensitivity,
            "solve for the share: this is what would be observed.": observed * sensitivity + (1 - observed) * false_positives,
            "solve for the share: divide by the difference.": (observed - false_positives) * gap,
            "the difference in the denominator is that of the two error rates.": (observed - false_positives) / (1 - gap),
        }
        mistakes = {hint: np.asarray(value) for hint, value in mistakes.items()}
        compare(told, received, np.asarray((observed - false_positives) / gap), mistakes, "observed = p s + (1 - p) f.")


@exercise(6)
def masked_attention(answer):
    """`answer(q, k, v, seen)`: attention with a mask (Vaswani et al. 2017, eq. 1); seen, (B, N), which keys may be looked at."""
    rng = np.random.default_rng(0)
    for shape, channels in (((2, 3, 5), 4), ((3, 4, 4), 2), ((1, 2, 6), 8)):
        count, queries, keys = shape
        q, k, v = rng.normal(size=(count, queries, channels)), *rng.normal(size=(2, count, keys, channels))
        seen = rng.random((count, keys)) < 0.6
        seen[:, 0], seen[:, -1] = True, False

        def attention(over=channels, axis=-1, hide=None, q=q, k=k, v=v, seen=seen):
            scores = q @ k.swapaxes(-2, -1) / np.sqrt(over)
            scores = np.where(seen[:, None], scores, -np.inf) if hide is None else hide(scores, seen[:, None])
            powers = np.exp(scores)
            return powers / powers.sum(axis=axis, keepdims=True) @ v

        wrongs = {"over": keys, "axis": -2, "hide": np.multiply}
        names = {"over": "the length in the root", "axis": "the axis of the sum", "hide": "how keys are hidden"}
        hints = {
            "over": "the root is of the length of a key, not of the number of keys.",
            "axis": "each query shares out all of its attention: its weights for all keys sum to 1.",
            "hide": "a score of 0 is a score like any other, and e^0 is 1; what is not seen has the weight 0.",
        }
        mistakes = {hints[name]: attention(**{name: wrong}) for name, wrong in wrongs.items() if name != "axis"}
        for right in wrongs:
            left = {name: wrong for name, wrong in wrongs.items() if name != right}
            if "hide" in left:  # otherwise it is 0 / 0, as below
                mistakes[f"two mistakes are left: {' and '.join(names[name] for name in left)}."] = attention(**left)
        mistakes |= {"all three mistakes are still there.": attention(**wrongs)}
        mistakes["nobody may look at what is not seen; here all is."] = attention(hide=lambda scores, _: scores)
        received = np.asarray(answer(q.copy(), k.copy(), v.copy(), seen.copy()))
        told = f"masked_attention with {queries} queries and {keys} keys"
        expect(received.shape == q.shape, f"{told}: expected shape {q.shape}; received {received.shape}")
        expect(not np.isnan(received).any(), f"{told}: received NaN, 0 / 0. Hint: {hints['axis']}")
        compare(told, received, attention(), mistakes, "softmax(q k^T / sqrt(d)) over the keys that are seen, times v.")
