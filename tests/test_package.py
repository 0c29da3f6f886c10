"""The package as a whole: what importing it costs, what it shows, what its README says."""

import pathlib
import re
import subprocess
import sys
import tomllib

import pytest

import jgrad

README = pathlib.Path(__file__).parent.parent / "README.md"


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


def blocks(kind):
    return re.findall(rf"^```{kind}\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.loose_promotion
def test_the_readme_prints_what_it_says(capsys):
    """Its Python blocks run in order, as one file; each prints the text block after it."""
    printed, namespace = [], {}
    for code in blocks("python"):
        exec(compile(code, "model.py", "exec"), namespace)
        printed.append(capsys.readouterr().out)
    said = blocks("text")[: len(printed)]
    assert [rounded(text) for text in printed] == [rounded(text) for text in said]


def rounded(text):
    """The text with its numbers to two digits: the last ones differ between machines."""
    return re.sub(r"-?\d+\.\d+(?:e-?\d+)?", lambda n: f"{float(n[0]):.1e}", text).split()


def test_the_readme_draws_the_floors():
    contracts = tomllib.loads((README.parent / "pyproject.toml").read_text())
    (floors,) = (c for c in contracts["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    assert blocks("text")[-1].split("\n")[:-1] == floors["layers"]
