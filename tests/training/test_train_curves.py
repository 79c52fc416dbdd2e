"""log.svg: the curves of a run beside its log."""

from xml.etree import ElementTree

from flowzoo.training.journal import Journal

COLUMNS = ("stage", "step", "loss", "epe", "learning_rate", "samples_per_second", "validation_epe")


def titles(path):
    return [entry.text for entry in ElementTree.parse(path).getroot().iter("{http://www.w3.org/2000/svg}text")]


def test_every_quantity_has_a_curve(tmp_path):
    journal = Journal(tmp_path, COLUMNS, 0, tensorboard=False)
    for step in range(1, 5):
        journal.write(stage="s", step=step, loss=1 / step, epe=float(step), learning_rate=1e-4, samples_per_second=3.0)
    journal.write(stage="s", step=4, validation_epe=2.0, validation={"x": 2.0})
    journal.close()
    shown = titles(tmp_path / "log.svg")
    assert [name for name in ("loss", "epe", "learning rate", "validation epe") if name in shown] == [
        "loss",
        "epe",
        "learning rate",
        "validation epe",
    ]
    assert "samples per second" not in shown


def test_a_run_that_goes_on_draws_what_came_before(tmp_path):
    first = Journal(tmp_path, COLUMNS, 0, tensorboard=False)
    first.write(stage="s", step=1, loss=1.0)
    first.write(stage="s", step=2, loss=2.0)
    second = Journal(tmp_path, COLUMNS, 1, tensorboard=False)
    second.write(stage="s", step=2, loss=3.0)
    second.close()
    text = (tmp_path / "log.svg").read_text()
    (points,) = [part.split('"')[0] for part in text.split('points="')[1:]]
    assert len(points.split()) == 2
