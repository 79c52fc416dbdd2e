"""Settings by keyword and by text."""

from dataclasses import dataclass
from typing import Literal

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
    ],
)
def test_mistakes_name_the_setting_and_what_would_do(wrong, message):
    with pytest.raises(InputError, match=message) as caught:
        settings.replace(Example(), "thing", **wrong)
    assert next(iter(wrong)) in str(caught.value)
