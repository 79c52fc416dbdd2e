"""How-tos are read literally: what is done is what stands there."""

import pytest
from howto import Step, change, run, steps

PAGE = """# Page

## First

Write `a/b.py`:

```python
x = 1
```

and

`c.py`, after `line two`:

```python
between
```

`c.py`, at the end:

```python
last
```

```sh
python -V
```

## Second

Something:

```python
lost
```
"""


def test_blocks_say_where_they_go():
    assert steps("First", PAGE) == [
        Step("x = 1\n", "a/b.py"),
        Step("between\n", "c.py", after="line two"),
        Step("last\n", "c.py", at_the_end=True),
        Step("python -V\n"),
    ]


def test_a_block_that_goes_nowhere_fails():
    with pytest.raises(AssertionError, match="nobody says"):
        steps("Second", PAGE)


def test_files_are_made_extended_and_edited(tmp_path):
    (tmp_path / "c.py").write_text("line one\n  line two\nline three\n")
    for step in steps("First", PAGE)[:3]:
        change(tmp_path / step.path, step)
    assert (tmp_path / "a" / "b.py").read_text() == "x = 1\n"
    assert (tmp_path / "c.py").read_text() == "line one\n  line two\nbetween\nline three\nlast\n"
    with pytest.raises(AssertionError, match="there already"):
        change(tmp_path / "c.py", Step("", "c.py"))
    with pytest.raises(AssertionError, match="has 0 lines 'line four'"):
        change(tmp_path / "c.py", Step("", "c.py", after="line four"))


def test_a_command_that_fails_says_what_it_printed(tmp_path):
    with pytest.raises(AssertionError, match=r"status 3\nwhy"):
        run(["python", "-c", "print('why'); raise SystemExit(3)"], tmp_path)
