"""The page of the worst pairs: complete, in order, and nothing that is not in it is asked for."""

import base64
import io
import re

import numpy as np
from evaluation_samples import make_chairs
from PIL import Image

from flowzoo.cli import main
from flowzoo.evaluation.contact_sheet import LARGEST, SheetRow, contact_sheet, small_jpeg


def test_rows_stand_in_order_with_their_pictures():
    jpeg = small_jpeg(np.full((30, 1000, 3), (250, 0, 0), np.uint8))
    rows = [SheetRow(2, "b", 1.0, (("flow", jpeg),)), SheetRow(1, "a & <b>", 2.5, (("flow", jpeg), ("error", jpeg)))]
    page = contact_sheet("T", rows)
    assert re.findall("<h2>(.*?)</h2>", page) == ["1. a &amp; &lt;b&gt;: 2.50 px", "2. b: 1.00 px"]
    sources = re.findall('src="(.*?)"', page)
    assert len(sources) == 3
    image = Image.open(io.BytesIO(base64.b64decode(sources[0].removeprefix("data:image/jpeg;base64,"))))
    assert image.size == (LARGEST, round(30 * LARGEST / 1000))
    assert abs(np.asarray(image)[5, 5].astype(int) - (250, 0, 0)).max() < 8


def test_evaluate_writes_it_beside_the_error_maps(tmp_path, capsys):
    predictions = make_chairs(tmp_path / "chairs", 3)
    words = ["evaluate", "flyingchairs", "--root", str(tmp_path / "chairs"), "--partial"]
    words += ["--predictions", str(predictions), "--worst", "2", "--pictures", str(tmp_path / "worst")]
    assert main(words) == 0
    printed = capsys.readouterr().out
    page = (tmp_path / "worst" / "index.html").read_text()
    names = re.findall(r"<h2>\d\. (\w+): ", page)
    assert len(names) == 2
    assert printed.index(names[0]) < printed.index(names[1])
    assert re.findall("<figcaption>(.*?)</figcaption>", page) == ["first", "second", "flow", "truth", "error"] * 2
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert len(list((tmp_path / "worst").glob("*.png"))) == 2


def test_flow_can_be_scored_and_shown_without_images(tmp_path):
    predictions = make_chairs(tmp_path / "chairs", 2)
    for image in (tmp_path / "chairs" / "data").glob("*.ppm"):
        image.unlink()
    words = ["evaluate", "flyingchairs", "--root", str(tmp_path / "chairs"), "--partial"]
    words += ["--predictions", str(predictions), "--worst", "1", "--pictures", str(tmp_path / "worst")]
    assert main(words) == 0
    page = (tmp_path / "worst" / "index.html").read_text()
    assert re.findall("<figcaption>(.*?)</figcaption>", page) == ["flow", "truth", "error"]
