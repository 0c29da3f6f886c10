"""The standard library's own source as text: some megabytes that every Python brings along."""

import os
from pathlib import Path

import numpy as np

from ._split import Split

#: What the tokens stand for: printable ASCII, the line break; any other character is the last.
CHARACTERS = "".join(map(chr, range(32, 127))) + "\n" + "\N{REPLACEMENT CHARACTER}"


def python_source(
    *, length: int = 64, examples: int = 5000, test_share: float = 0.2, seed: int = 0
) -> Split:
    """Windows of the standard library's source, and at each position the character that follows.

    The files are the modules next to `os`, in the order of their names; they differ between Python
    versions, and so does the `digest`. Some of the files are kept for testing, whole, so that no
    test window overlaps a training one.

    Args:
      length: characters in a window.
      examples: windows, training and test together.
      test_share: which share of the windows, and about which of the text, is for testing.
      seed: decides which windows are drawn, and which files are for testing.

    Raises:
      ValueError: a window below 1 character, more windows than there is text, or a
        Python without its source.
    """
    if length < 1:
        msg = f"python_source needs windows of at least 1 character, got {length}"
        raise ValueError(msg)
    files = [_tokens(path) for path in sorted(Path(os.__file__).parent.glob("*.py"))]
    if len(files) < 2:
        msg = f"python_source finds no modules next to {os.__file__}: this Python came without them"
        raise ValueError(msg)
    generator = np.random.default_rng(seed)
    files = [files[i] for i in generator.permutation(len(files))]
    ends = np.cumsum([len(tokens) for tokens in files])
    for_test = max(1, int(np.searchsorted(ends, test_share * ends[-1])))
    test_count = round(test_share * examples)
    parts = [
        _windows(np.concatenate(chosen), length, count, generator)
        for chosen, count in (
            (files[for_test:], examples - test_count),
            (files[:for_test], test_count),
        )
    ]
    (x_train, y_train), (x_test, y_test) = parts
    count = len(CHARACTERS)
    return Split("python_source", x_train, y_train, x_test, y_test, labels=count, vocabulary=count)


def _tokens(path: Path) -> np.ndarray:
    """The characters of a file as int32 tokens."""
    points = np.frombuffer(
        path.read_text(encoding="utf-8", errors="replace").encode("utf-32-le"), np.uint32
    )
    table = np.full(128, len(CHARACTERS) - 1, np.int32)
    table[[ord(character) for character in CHARACTERS[:-1]]] = np.arange(len(CHARACTERS) - 1)
    return table[np.minimum(points, 127)]


def _windows(
    text: np.ndarray, length: int, count: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """`count` windows that do not overlap, and each shifted on by one."""
    places = (len(text) - 1) // length
    if not 1 <= count <= places:
        msg = f"python_source has {places} windows of {length} characters there, {count} are wanted"
        raise ValueError(msg)
    starts = length * generator.permutation(places)[:count]
    place = starts[:, None] + np.arange(length)
    return text[place], text[place + 1]
