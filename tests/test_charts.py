"""SVG charts: well-formed, values where they belong, odd values left out."""

import math
import re
from xml.etree import ElementTree

from flowzoo.charts import HEIGHT, Chart, Series, svg

SPACE = "{http://www.w3.org/2000/svg}"


def places(text: str) -> list[tuple[float, float]]:
    line = ElementTree.fromstring(text).find(f".//{SPACE}polyline")
    return [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]


def test_a_curve_goes_where_its_values_go():
    found = places(svg([Chart("loss", "step", "px", (Series("a", [(0, 1), (10, 3), (20, 2)]),))]))
    (x0, y0), (x1, y1), (x2, y2) = found
    assert math.isclose(x1 - x0, x2 - x1, abs_tol=0.11)
    assert y1 < y2 < y0  # up is small
    assert math.isclose((y0 - y2) * 2, y0 - y1, abs_tol=0.21)


def test_a_logarithmic_axis_has_equal_steps_for_equal_ratios():
    (_, y0), (_, y1), (_, y2) = places(svg([Chart("", "", "", (Series("", [(0, 1), (1, 10), (2, 100)]),), True)]))
    assert math.isclose(y0 - y1, y1 - y2, abs_tol=0.11)


def test_odd_values_are_left_out_and_the_rest_is_drawn():
    points = [(0, 1.0), (1, math.nan), (2, math.inf), (3, -1.0), (4, 2.0)]
    assert len(places(svg([Chart("", "", "", (Series("", points),), True)]))) == 2
    assert len(places(svg([Chart("", "", "", (Series("", points),))]))) == 3
    for points in ([], [(0, math.nan)]):
        assert "no values yet" in svg([Chart("", "", "", (Series("", points),))])


def test_one_point_and_equal_values_have_room():
    for points in ([(5, 0.0)], [(5, 2.0), (6, 2.0)]):
        assert all(0 < y < HEIGHT for _, y in places(svg([Chart("", "", "", (Series("", points),))])))


def test_ticks_stand_at_their_values():
    text = svg([Chart("", "", "", (Series("", [(0, 0), (100, 1)]),))])
    ticks = {float(t): float(x) for x, t in re.findall(r'<text x="([\d.]+)" y="292.0"[^>]*>([\d.]+)</text>', text)}
    (start, _), (end, _) = places(text)
    for value, place in ticks.items():
        assert math.isclose(place, start + value / 100 * (end - start), abs_tol=0.11)
    assert len(ticks) > 3


def test_names_are_escaped_and_charts_stand_below_each_other():
    chart = Chart("a < b & c", "x", "y", (Series("p", [(1, 1), (2, 2)], ["<one>", "two"]),))
    root = ElementTree.fromstring(svg([chart, chart]))
    assert root.attrib["height"] == str(2 * HEIGHT)
    texts = [entry.text for entry in root.iter(f"{SPACE}text")]
    assert texts.count("a < b & c") == texts.count("<one>") == 2
