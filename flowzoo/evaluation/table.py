"""A report as text for the terminal."""

from flowzoo.errors import counted
from flowzoo.evaluation.report import Report


def table(report: Report) -> str:
    """Title, numbers, notes, and the worst pairs if they were asked for."""
    what = f"{report.model} ({report.weights})" if report.model else f"files in {report.predictions}"
    count = counted(report.pairs, report.counted[:-1], of=None if report.pairs == report.expected else report.expected)
    lines = [f"{report.dataset} ({report.subset}), {count}: {what}", ""]
    shown = [(name, title, unit, report.metrics[name]) for name, title, unit in report.titles]
    widths = [max(map(len, texts), default=0) for texts in ([row[0] for row in shown], [row[1] for row in shown])]
    for name, title, unit, value in shown:
        number = "-" if value is None else f"{value:.4f}"
        lines.append(f"  {name:{widths[0]}s}  {title:{widths[1]}s}  {number:>10s} {unit}".rstrip())
    if not shown:
        lines.append("  no ground truth here: nothing to score")
    if report.seconds_per_pair is not None:
        lines += ["", f"  {report.seconds_per_pair:.4f} s per {report.counted[:-1]} in the network"]
    if report.notes:
        lines += ["", *(f"  note: {note}" for note in report.notes)]
    if report.worst:
        lines += ["", *_worst(report)]
    return "\n".join(lines)


def _worst(report: Report) -> list[str]:
    """The worst pairs with their main numbers."""
    rows = {row["name"]: row for row in report.per_pair}
    columns = ["epe", *(name for name, *_ in report.titles if name in ("fl_all", "out_all", "pck_1"))][:3]
    width = max(map(len, report.worst))
    lines = [f"  {'worst pairs':{width}s}  " + "  ".join(f"{name:>9s}" for name in columns)]
    for name in report.worst:
        numbers = (rows[name].get(column) for column in columns)
        lines.append(f"  {name:{width}s}  " + "  ".join("        -" if n is None else f"{n:9.3f}" for n in numbers))
    return lines
