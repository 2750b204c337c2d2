"""Lines split by width class: closed forms, and nothing lost."""

from itertools import pairwise

import numpy as np
import pytest

from crackmap.calibration.errors import InputError
from crackmap.pipeline.classes import split_by_width_class


def split(line, width, edges, least=0.0):
    parts = split_by_width_class(np.asarray(line, float), np.asarray(width, float), edges, least_length=least)
    return [(part.number, part.length) for part in parts]


def rounded(parts):
    return [(number, round(length, 9)) for number, length in parts]


def test_a_taper_is_cut_where_its_width_passes_each_edge():
    # 1 to 5 mm over 4 m: 2 mm after 1 m, 3.5 mm after 2.5 m.
    parts = split([(0, 0), (0, 4)], (1, 5), (2, 3.5))
    assert parts == [(0, pytest.approx(1.0)), (1, pytest.approx(1.5)), (2, pytest.approx(1.5))]


def test_the_parts_follow_each_other_and_keep_every_vertex():
    rng = np.random.default_rng(2)
    line, width = np.cumsum(rng.uniform(0, 1, (60, 2)), axis=0), rng.uniform(0, 10, 60)
    parts = split_by_width_class(line, width, (3, 6), least_length=2.0)
    for one, following in pairwise(parts):
        np.testing.assert_array_equal(one.line_xy[-1], following.line_xy[0])
        assert one.number != following.number
    vertices = np.concatenate([part.line_xy for part in parts])
    assert {tuple(v) for v in line} <= {tuple(v) for v in vertices}
    assert sum(part.length for part in parts) == pytest.approx(np.hypot(*np.diff(line, axis=0).T).sum())
    assert min(part.length for part in parts) >= 2.0


def test_a_short_part_goes_to_its_longer_neighbour():
    line, width = [(0, 0), (3, 0), (3, 0), (3.2, 0), (3.2, 0), (5, 0)], [1, 1, 5, 5, 1, 1]
    assert rounded(split(line, width, [3])) == [(0, 3.0), (1, 0.2), (0, 1.8)]
    assert rounded(split(line, width, [3], least=0.3)) == [(0, 5.0)]
    line, width = [(0, 0), (3, 0), (3, 0), (3.2, 0), (3.2, 0), (5, 0)], [1, 1, 5, 5, 9, 9]
    assert rounded(split(line, width, (3, 7), least=0.3)) == [(0, 3.2), (2, 1.8)]


def test_of_two_neighbours_as_long_the_wider_takes_the_short_part_in_both_directions():
    line, width = np.array([(0, 0), (2, 0), (2, 0), (2.2, 0), (2.2, 0), (4.2, 0)], float), np.array([1, 1, 5, 5, 9, 9])
    assert rounded(split(line, width, (3, 7), least=0.5)) == [(0, 2.0), (2, 2.2)]
    assert rounded(split(line[::-1], width[::-1], (3, 7), least=0.5)) == [(2, 2.2), (0, 2.0)]


def test_a_line_shorter_than_the_least_length_has_one_class():
    assert rounded(split([(0, 0), (0.4, 0), (0.4, 0), (1, 0)], (1, 1, 5, 5), [3], least=2.0)) == [(1, 1.0)]


def test_a_width_on_the_edge_belongs_to_the_wider_class_and_touching_an_edge_cuts_nothing():
    assert rounded(split([(0, 0), (1, 0)], (3, 3), [3])) == [(1, 1.0)]
    assert rounded(split([(0, 0), (1, 0), (2, 0)], (1, 3, 1), [3])) == [(0, 2.0)]


def test_without_edges_a_line_is_one_part():
    assert rounded(split([(0, 0), (3, 4)], (1, 9), ())) == [(0, 5.0)]


def test_arguments_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="edges"):
        split([(0, 0), (1, 0)], (1, 1), (3, 2))
    with pytest.raises(InputError, match="width"):
        split([(0, 0), (1, 0)], (1, 1, 1), (3,))
    with pytest.raises(InputError, match="least_length"):
        split([(0, 0), (1, 0)], (1, 1), (3,), least=-1)
