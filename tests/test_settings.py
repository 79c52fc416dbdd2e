"""Settings by keyword and by text."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import pytest

from flowzoo import settings
from flowzoo.errors import InputError


@dataclass(frozen=True)
class Example:
    count: int = 3
    rate: float = 0.5
    on: bool = False
    kind: Literal["a", "b"] = "a"
    sizes: tuple[int, ...] = (1, 2)
    limit: int | None = None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ({"count": "7"}, 7),
        ({"rate": "3e-5"}, 3e-5),
        ({"on": "yes"}, True),
        ({"kind": "b"}, "b"),
        ({"sizes": "4,5,6"}, (4, 5, 6)),
        ({"limit": "9"}, 9),
        ({"limit": "none"}, None),
        ({"sizes": [8]}, (8,)),
    ],
)
def test_texts_and_values_become_the_fields_type(text, value):
    changed = settings.replace(Example(), "thing", **text)
    assert getattr(changed, next(iter(text))) == value


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"cuont": 1}, "did you mean 'count'"),
        ({"count": "x"}, "whole number"),
        ({"count": 1.5}, "whole number"),
        ({"count": True}, "whole number"),
        ({"on": "maybe"}, "true or false"),
        ({"kind": "c"}, "choose one of a, b"),
        ({"sizes": "1,x"}, "whole number"),
        ({"count": float("inf")}, "whole number"),
        ({"rate": 10**400}, "give a number"),
    ],
)
def test_mistakes_name_the_setting_and_what_would_do(wrong, message):
    with pytest.raises(InputError, match=message) as caught:
        settings.replace(Example(), "thing", **wrong)
    assert next(iter(wrong)) in str(caught.value)
    assert len(str(caught.value)) < 200


@dataclass(frozen=True)
class Part:
    depth: int = 2
    word: str = "x"


@dataclass(frozen=True)
class Whole:
    count: int = 3
    part: Part = Part()


def test_parts_are_changed_by_the_names_of_their_settings():
    assert settings.flat(Whole()) == {"count": 3, "depth": 2, "word": "x"}
    changed = settings.replace(Whole(), "thing", depth="5", count=4)
    assert changed == Whole(4, Part(5, "x"))
    with pytest.raises(InputError, match="did you mean 'depth'"):
        settings.replace(Whole(), "thing", dept=1)
    with pytest.raises(InputError, match="has no setting 'part'"):
        settings.replace(Whole(), "thing", part=Part())


def test_former_names_still_change_a_setting_and_the_later_one_counts():
    @dataclass(frozen=True)
    class Changed(Example):
        RENAMED: ClassVar[dict[str, str]] = {"number": "count"}

    assert settings.replace(Changed(), "thing", number="9").count == 9
    assert settings.replace(Changed(), "thing", count=4, number=5).count == 5
    with pytest.raises(InputError, match="setting 'count' of thing cannot be 'x'"):
        settings.replace(Changed(), "thing", number="x")
    assert set(settings.flat(Changed())) == set(settings.flat(Example()))
