"""The package as a whole: what importing it costs, what it shows, what its README says."""

import subprocess
import sys

import pytest

import jgrad


def test_the_library_brings_no_lab():
    code = (
        "import sys, jgrad\n"
        "for noun in jgrad._NOUNS: getattr(jgrad, noun)\n"
        "heavy = {'flax', 'xarray', 'matplotlib', 'pandas', 'sklearn', 'rich', 'click'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_it_shows_its_nouns():
    assert set(jgrad.__all__) <= set(dir(jgrad))
    with pytest.raises(AttributeError, match="no attribute 'activation'"):
        _ = jgrad.activation
