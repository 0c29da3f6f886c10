"""Plots as files."""

import numpy as np
import pytest
from matplotlib.image import imread

from jgrad import activations, reports, theory
from jgrad.reports import _plots


def test_an_activation_is_drawn(tmp_path):
    path = reports.plot_activation("tanh", tmp_path / "tanh.png")
    assert imread(path).std() > 0.05
    assert [p.name for p in tmp_path.iterdir()] == ["tanh.png"]


def test_wrong_names_and_endings_write_nothing(tmp_path):
    with pytest.raises(ValueError, match="unknown activation 'tnh'"):
        reports.plot_activation("tnh", tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"cannot draw a \.docx"):
        reports.plot_activation("relu", tmp_path / "a.docx")
    assert list(tmp_path.iterdir()) == []


def test_the_plane_agrees_with_the_fixed_points():
    """The interpolated map over the whole plane against theory's own root finding."""
    widths, biases = np.array([0.7, 1.2, 1.9]), np.array([0.1, 0.45])
    plane, bounded = _plots._log_chi(activations.get("tanh"), widths, biases)
    assert bounded.all()
    for i, b in enumerate(biases):
        for j, w in enumerate(widths):
            expected = np.log(theory.fixed_point("tanh", float(w), float(b)).chi1)
            assert plane[i, j] == pytest.approx(expected, abs=1e-5)


def test_the_window_of_tanh_ends_in_its_flat_part():
    reach = _plots._reach(activations.get("tanh"), 1.0)
    assert 4.0 <= reach <= 6.0


def test_the_plane_knows_where_variance_grows_without_bound():
    _, bounded = _plots._log_chi(activations.get("relu"), np.array([1.3, 1.6]), np.array([0.3]))
    assert bounded.tolist() == [[True, False]]
