"""Datasets: labelled, saved whole or not at all, found again, never another run's."""

import os

import numpy as np
import pytest
import xarray as xr

from jgrad import results

JOIN = {"data_vars": "minimal", "coords": "minimal", "compat": "equals", "join": "exact"}


def small(offset=0.0):
    generator = np.random.default_rng(1)
    return results.build(
        {
            "label": ["tanh + he", "relu + xavier"],
            "skip": [False, True],
            "learning_rate": [[0.1, 1.0], [0.1, 1.0]],
            "seed": [3, 5, 8],
            "step": [10, 20, 30, 40],
            "train_loss": offset + generator.normal(size=(2, 2, 3, 4)).astype(np.float32),
            "diverged": np.zeros((2, 2, 3), bool),
        },
        {"seeds": [3, 5, 8], "note": "σ"},
    )


def test_every_variable_is_described():
    dataset = small()
    for name in dataset.variables:
        assert dataset[name].attrs["long_name"]
    assert dataset.train_loss.dims == ("config", "rate", "seed", "step")
    assert "label" in dataset.coords


def test_saved_and_loaded_is_the_same(tmp_path):
    dataset = small()
    dataset.train_loss[0, 0, 0, 0] = np.nan
    results.save(dataset, tmp_path / "deep" / "results.nc")
    back = results.load(tmp_path / "deep" / "results.nc")
    xr.testing.assert_identical(back.drop_vars("label"), dataset.drop_vars("label"))
    assert back.label.values.tolist() == dataset.label.values.tolist()
    assert back.train_loss.dtype == np.float32
    assert back.diverged.dtype == bool


def test_a_loaded_dataset_keeps_longer_strings(tmp_path):
    """NumPy's fixed-length strings, and the encoding a file leaves behind, both cut."""
    results.save(small().isel(config=[0]), tmp_path / "short.nc")
    short = results.load(tmp_path / "short.nc")
    joined = xr.concat([short, small().isel(config=[1])], "config", **JOIN)
    results.save(joined, tmp_path / "long.nc")
    assert results.load(tmp_path / "long.nc").label.values.tolist() == [
        "tanh + he",
        "relu + xavier",
    ]


def test_plain_xarray_opens_it(tmp_path):
    results.save(small(), tmp_path / "results.nc")
    with xr.open_dataset(tmp_path / "results.nc") as plain:
        assert plain.sizes["seed"] == 3


def test_a_failed_save_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "results.nc"
    results.save(small(), path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as told:
        results.save(small(1.0), path)
    assert told.value.filename == str(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.nc"]


def test_an_unknown_variable_is_refused():
    with pytest.raises(ValueError, match="train_lose"):
        results.build({"train_lose": [1.0]}, {})


def test_wrong_files(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        results.load(tmp_path / "absent.nc")
    (tmp_path / "text.nc").write_text("hello")
    with pytest.raises(ValueError, match="not a NetCDF file"):
        results.load(tmp_path / "text.nc")
    results.save(small().assign_attrs(schema=99), tmp_path / "other.nc")
    with pytest.raises(ValueError, match=f"schema 99.* reads schemas 1 to {results.SCHEMA}"):
        results.load(tmp_path / "other.nc")


def test_a_folder_belongs_to_one_run(tmp_path):
    folder = tmp_path / "run"
    results.claim(folder, {"depth": 3, "seeds": (0, 1)})
    (folder / "results.nc").write_text("precious")
    results.claim(folder, {"depth": 3, "seeds": (0, 1)})
    with pytest.raises(ValueError, match=r"another run's results \(depth: 3 there, 4 here"):
        results.claim(folder, {"depth": 4, "seeds": (0, 1)})
    assert (folder / "results.nc").read_text() == "precious"


def test_a_folder_of_other_things_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(ValueError, match="not empty and holds no run"):
        results.claim(tmp_path, {"depth": 3})
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(ValueError, match="no folder"):
        results.claim(tmp_path / "thesis.tex", {"depth": 3})


def test_a_run_killed_while_it_claimed_its_folder_may_claim_it_again(tmp_path):
    (tmp_path / ".run.json.part").write_text('{"dep')
    results.claim(tmp_path, {"depth": 3})
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.json"]


def test_an_unreadable_record_is_another_run(tmp_path):
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ValueError, match="another run's results"):
        results.claim(tmp_path, {"depth": 3})
    assert (tmp_path / "run.json").read_text() == "{"


def test_parts_have_plain_file_names(tmp_path):
    folder = results.claim(tmp_path, {})
    assert folder.part("sigmoid + batch norm").name == "sigmoid-batch-norm.nc"


def test_provenance_names_versions_device_and_command():
    found = results.provenance()
    assert {"jgrad", "jax", "jaxlib", "numpy", "python", "device", "command", "created"} <= set(
        found
    )
    assert "cpu" in found["device"].lower()
