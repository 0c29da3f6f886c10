"""The page: whole, alone, and true to the numbers."""

import html.parser
import re

import numpy as np
import pytest
from made_up_sweep import SWEEP

from jgrad import reports
from jgrad.reports import _chart


@pytest.fixture(scope="module")
def text():
    return reports.page(reports.summarise(SWEEP))


class Balance(html.parser.HTMLParser):
    void = frozenset({"meta", "link", "br", "path", "circle", "image", "polygon", "line"})

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):  # noqa: ARG002
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.void:
            assert self.open.pop() == tag


def test_every_tag_is_closed(text):
    balance = Balance()
    balance.feed(text)
    assert balance.open == []


def test_nothing_is_fetched(text):
    for found in re.findall(r'(?:src|href|url)\s*[=(]\s*"?([^">)]*)', text):
        assert found.startswith("data:")
    assert "<script" not in text
    assert "@import" not in text


def test_names_are_escaped():
    nasty = SWEEP.assign_attrs(command='jgrad compare --data "<b>&</b>.npz"')
    text = reports.page(reports.summarise(nasty))
    assert "&lt;b&gt;&amp;&lt;/b&gt;" in text
    assert "<b>&</b>" not in text


def test_every_configuration_is_in_the_ranking(text):
    for label in SWEEP.label.values:
        assert f"<td>{label}</td>" in text


def test_the_heat_map_has_a_pixel_for_each_layer_and_record(text):
    import base64
    import io

    from matplotlib.image import imread

    images = re.findall(r'href="data:image/png;base64,([^"]+)"', text)
    assert len(images) >= 8
    pixels = imread(io.BytesIO(base64.b64decode(images[0])), format="png")
    assert pixels.shape[:2] == (SWEEP.sizes["depth"] - 1, SWEEP.sizes["record"])


def test_without_forecasts_there_is_no_section_of_them():
    bare = SWEEP.drop_vars(["forecast_log_gain", "forecast_linear_log_gain"])
    text = reports.page(reports.summarise(bare))
    assert "Measured beside predicted" not in text
    assert "forecast</span>" not in text


def test_writing_replaces_whole_files_and_refuses_before_it_writes(tmp_path):
    path = reports.write(SWEEP, tmp_path / "new" / "report.html")
    assert path.read_text("utf-8").startswith("<!doctype html>")
    before = path.read_bytes()
    with pytest.raises(ValueError, match="not the results of a sweep"):
        reports.write(SWEEP.drop_vars("log_gain"), path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_marks_stand_where_their_values_are():
    axis = _chart.Axis(0.0, 10.0, [], "x")
    frame = _chart.Frame(axis, _chart.Axis(1.0, 100.0, [], "y", log=True))
    x, y = frame.at(np.array([0.0, 5.0, 10.0]), np.array([1.0, 10.0, 100.0]))
    np.testing.assert_allclose(x, [48.0, 189.0, 330.0])
    np.testing.assert_allclose(y, [182.0, 95.0, 8.0])


def test_a_line_breaks_at_what_is_not_finite():
    frame = _chart.Frame(_chart.Axis(0, 4, [], ""), _chart.Axis(0, 1, [], ""))
    drawn = _chart.line(frame, np.arange(5), np.array([0.1, 0.2, np.nan, 0.3, 0.4]), "#000000")
    assert drawn.count("M") == 2
    assert drawn.count("L") == 2
    assert "nan" not in drawn


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_few_layers_and_a_single_step_make_a_page(depth):
    small = SWEEP.isel(depth=slice(depth), step=[-1], record=[0], seed=[0])
    assert reports.page(reports.summarise(small)).endswith("</html>\n")


def test_networks_of_different_depth_share_a_panel():
    sites = np.tile([f"{k}" for k in range(SWEEP.sizes["depth"])], (SWEEP.sizes["config"], 1))
    sites[0, 5:] = ""
    summary = reports.summarise(SWEEP.assign_coords(site=(("config", "depth"), sites)))
    depths = {entry.profiles[0].depth for entry in summary.entries}
    assert depths == {5, SWEEP.sizes["depth"]}
    assert "<svg" in reports.page(summary)
