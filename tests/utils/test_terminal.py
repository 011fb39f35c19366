"""Text that fits into the terminal."""

from __future__ import annotations

from avocado.utils.terminal import counted, terminal_width, wrapped


def test_wrapped_lines_go_on_in_their_column():
    line = "  key=value      what it is, in many words, some-of-them --with-hyphens"
    text = wrapped(line, 40, 17)
    assert max(map(len, text.splitlines())) <= 40
    first, *others = text.splitlines()
    assert first.startswith("  key=value      what")
    assert others
    assert all(line.startswith(" " * 17) and line[17] != " " for line in others)
    assert text.split() == line.split()


def test_what_fits_or_goes_to_a_file_stays_as_it_is():
    assert wrapped("a  b", 4) == "a  b"
    assert wrapped("word " * 100, None) == "word " * 100


def test_a_long_indent_gives_way():
    assert wrapped("  " + "word " * 9, 20, 15).splitlines()[1].startswith("    word")


def test_a_long_word_is_not_broken():
    path = "model=" + "x" * 50
    assert path in wrapped(f"  some words {path}", 20, 4).splitlines()[-1]


def test_no_terminal_has_no_width(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert terminal_width() is None
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert terminal_width() == 80


def test_counted():
    assert (counted(1, "track"), counted(0, "track"), counted(1200, "track")) == ("1 track", "0 tracks", "1,200 tracks")
