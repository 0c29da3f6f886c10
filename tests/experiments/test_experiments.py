"""What every experiment keeps, at the scale that only shows that it works."""

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from _experiment import Experiment, Row, main, mean_and_error, perform, table, variable

FOLDER = Path(__file__).parents[2] / "experiments"
NAMES = sorted(path.stem for path in FOLDER.glob("[!_]*.py"))

pytestmark = pytest.mark.loose_promotion


def experiment(name):
    return importlib.import_module(name).EXPERIMENT


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_is_whole(name, tmp_path):
    one = experiment(name)
    assert one.name == name
    assert set(one.scales) == {"tiny", "small", "full"}
    data, (file, figure) = perform(one, "tiny", tmp_path)

    with xr.open_dataset(file) as saved:
        assert saved.attrs["question"] == one.question
        assert {"jgrad", "jax", "device", "created", "settings"} <= set(saved.attrs)
        for variable in saved.data_vars.values():
            assert {"long_name", "units"} <= set(variable.attrs), variable.name
    assert figure.read_bytes().startswith(b"\x89PNG")

    rows = one.rows(data)
    assert rows
    assert all(np.isfinite(row.measured) for row in rows)
    assert any(np.isfinite(row.predicted) for row in rows)
    # Other numbers, another answer.
    said = one.answer(data)
    assert said.count(". ") == 0
    assert said.endswith(".")
    other = data.map(lambda v: 1.7 * v if v.dtype.kind == "f" else v)
    assert one.answer(other) != said


def test_an_experiment_runs_alone(tmp_path):
    told = subprocess.run(
        [sys.executable, FOLDER / "yang_2019.py", "--scale", "tiny", "--out", tmp_path],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    ).stdout
    assert "batch normalisation" in told
    assert {path.name for path in tmp_path.iterdir()} == {"yang_2019.nc", "yang_2019.png"}


def test_standard_error_and_table():
    mean, error = mean_and_error(xr.DataArray([[1.0, 2.0, 4.5]], dims=("x", "seed")))
    np.testing.assert_allclose((mean, error), ([2.5], [np.sqrt(13 / 12)]))
    drawn = table("title", [Row("a", 2.5, 0.5, 1.0), Row("b", 1.0, np.nan, np.nan)])
    cells = [list(column.cells) for column in drawn.columns]
    assert [column[0] for column in cells] == ["a", "2.5", "0.5", "1", "+3.0", "theory"]
    assert [column[1] for column in cells] == ["b", "1", "–", "–", "–", ""]


def test_an_unknown_scale_is_refused(capsys):
    made = Experiment(
        name="made_up",
        question="?",
        source="nobody",
        scales={"small": {}},
        run=lambda: xr.Dataset({"x": variable(("seed",), [1.0], "x")}),
        title="x",
        rows=lambda _: [],
        answer=lambda _: "",
        paint=lambda *_: None,
    )
    with pytest.raises(SystemExit):
        main(made, ["--scale", "huge"])
    assert "huge" in capsys.readouterr().err
