"""Numbers along many lines at once are those of each line by itself, to the last bit."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from crackmap.pipeline.polyline import lines_by_size, weighted_mean, weighted_means, weights_of_lines
from crackmap.stages.polyline import vertex_weights


@settings(max_examples=60)
@given(st.lists(st.integers(2, 40), max_size=12), st.integers(0, 99), st.booleans())
def test_weighted_means_of_all_lines_are_those_of_each(sizes: list[int], seed: int, flat: bool) -> None:
    rng = np.random.default_rng(seed)
    ends = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    line_xy = np.zeros((ends[-1], 2)) if flat else rng.normal(0, 9, (ends[-1], 2))
    values = rng.uniform(0, 9, ends[-1])
    found = weighted_means(values, line_xy, ends)
    for number, (start, end) in enumerate(pairwise(ends)):
        assert found[number] == weighted_mean(values[start:end], vertex_weights(line_xy[start:end]))
    seen = np.zeros(len(sizes), int)
    for numbers, vertices in lines_by_size(ends):
        seen[numbers] += 1
        weights = weights_of_lines(line_xy[vertices])
        for number, row in zip(numbers, weights, strict=True):
            assert np.array_equal(row, vertex_weights(line_xy[ends[number] : ends[number + 1]]))
    assert (seen == 1).all()
