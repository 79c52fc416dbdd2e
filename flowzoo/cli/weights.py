"""`flowzoo weights`: list, download, convert and inspect weights."""

import argparse
import json
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowzoo.errors import InputError

if TYPE_CHECKING:
    from flowzoo.checkpoints.index import Entry

HELP = "List, download, convert and inspect weights."
ENTRY = "which of several sets of weights in a training script's file (model_ema, ...); the default is said"

EXAMPLES = """examples:
  flowzoo weights list                     everything that is published, and what ships with the package
  flowzoo weights list "liteflownet2*"     by tag or model
  flowzoo weights list --model pwcnet      of one network
  flowzoo weights get pwcnet-sintel        into the cache; --weights pwcnet-sintel does so on first use
  flowzoo weights get pwcnet-sintel -o pwcnet.safetensors
  flowzoo weights import pwc_net.pth.tar --model pwcnet -o pwcnet.safetensors
  flowzoo weights info pwcnet.safetensors  what a file is: format, model, licence, SHA-256

Files are kept in $FLOWZOO_CACHE, else $XDG_CACHE_HOME/flowzoo, else ~/.cache/flowzoo."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The actions of this verb and their options."""
    parser.epilog = EXAMPLES
    shown = argparse.RawDescriptionHelpFormatter
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION", title="actions")

    listing = actions.add_parser("list", help="the index as a table", formatter_class=shown)
    listing.add_argument("pattern", nargs="?", default="*", metavar="PATTERN", help="tags or models, with * and ?")
    listing.add_argument("--model", metavar="NAME", help="only weights of this network")
    listing.add_argument("--json", action="store_true", help="everything the index says, for machines")

    getting = actions.add_parser("get", help="download weights of the index", formatter_class=shown)
    getting.add_argument("tag", metavar="TAG", help="of `flowzoo weights list`")
    getting.add_argument("-o", "--output", metavar="FILE", help="also convert them into this .safetensors file")

    importing = actions.add_parser("import", help="convert a published file into ours", formatter_class=shown)
    importing.add_argument("file", metavar="FILE", help=".pth, .pth.tar, .ckpt, .pytorch, .caffemodel, .tar.gz, ...")
    importing.add_argument("--model", metavar="NAME", required=True, help="the network it belongs to")
    importing.add_argument("-o", "--output", metavar="OUT", required=True, help="the .safetensors file to write")
    importing.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="a setting in which the network differs from its card; may be repeated",
    )

    importing.add_argument("--entry", metavar="NAME", help=ENTRY)
    informing = actions.add_parser("info", help="say what a file or a tag is", formatter_class=shown)
    informing.add_argument("file", metavar="FILE|TAG")
    informing.add_argument("--entry", metavar="NAME", help=ENTRY)
    informing.add_argument("--json", action="store_true", help="for machines")
    for action in (listing, getting, importing, informing):
        action.add_argument("--debug", action="store_true", help="show the traceback of a failure")


def run(arguments: argparse.Namespace) -> None:
    """Do it.

    Raises:
        InputError: see the messages.
    """
    actions = {"list": _list, "get": _get, "import": _import, "info": _info}
    actions[arguments.action](arguments)


def _list(arguments: argparse.Namespace) -> None:
    from flowzoo import registry
    from flowzoo.checkpoints.index import backbones, entries

    if arguments.model is not None:
        registry.card(arguments.model)
    chosen = [
        entry
        for entry in entries().values()
        if arguments.model in (None, entry.model)
        and (fnmatchcase(entry.tag, arguments.pattern) or fnmatchcase(entry.model, arguments.pattern))
    ]
    if not chosen:
        wanted = repr(arguments.pattern) if arguments.model is None else f"{arguments.pattern!r} of {arguments.model}"
        raise InputError(f"no weights match {wanted}: flowzoo weights list shows all of them")
    if arguments.json:
        print(json.dumps([vars(entry) for entry in chosen], indent=1))
        return
    rows: list[tuple[str, ...]] = [("tag", "model", "how", "size", "licence", "trained on")]
    rows += [(e.tag, e.model, _how(e), _size(e.bytes), _licence(e), " > ".join(e.trained_on)) for e in chosen]
    _print_table(rows)
    print("\n`flowzoo weights info TAG` shows scores and where a file comes from; (nc) = non-commercial use only")
    if arguments.model is None and arguments.pattern == "*":
        print("\nimage networks of losses and metrics, whose files you fetch and give:")
        found: list[tuple[str, ...]] = [("name", "how", "SHA-256", "URL", "licence")]
        found += [(b.name, b.option, b.sha256_prefix + "...", b.url, b.licence) for b in backbones().values()]
        _print_table(found)


def _how(entry: "Entry") -> str:
    """How the weights are to be had, in one word."""
    if entry.not_importable:
        return "not usable"
    return "in package" if entry.file else "download" if entry.url else "by hand"


def _licence(entry: "Entry") -> str:
    return f"{entry.licence} (nc)" if entry.non_commercial else entry.licence


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count else "?"


def _get(arguments: argparse.Namespace) -> None:
    from flowzoo.checkpoints.download import obtain
    from flowzoo.checkpoints.index import find

    entry = find(arguments.tag)
    if arguments.output:
        _check_output(arguments.output)
    path = obtain(entry)
    print(path)
    if arguments.output:
        from flowzoo.cache import sha256_of
        from flowzoo.checkpoints import load_weights, save_weights

        _check_output(arguments.output, path)

        network = load_weights(entry.model, entry.tag)
        facts = {"tag": entry.tag, "source": entry.url or entry.file, "source_sha256": sha256_of(path)}
        save_weights(network, arguments.output, licence=entry.licence, trained_on=entry.trained_on, **facts)
        print(arguments.output)


def _import(arguments: argparse.Namespace) -> None:
    from flowzoo import registry
    from flowzoo.settings import parse_settings

    registry.card(arguments.model)
    settings = parse_settings(arguments.set)
    _check_output(arguments.output, arguments.file)
    from flowzoo.checkpoints.fitting import taken
    from flowzoo.checkpoints.loading import convert_file

    source, target = Path(arguments.file), Path(arguments.output)
    facts, checkpoint = convert_file(source, arguments.model, target, entry=arguments.entry, **settings)
    known = f", weights {facts['tag']}, licence: {facts['licence']}" if "tag" in facts else ""
    print(f"{arguments.output}: {arguments.model} from {facts['source']} ({facts['source_format']}){known}")
    if said := taken(checkpoint):
        print(said)


def _check_output(name: str, *inputs: str | Path) -> None:
    from flowzoo.files.run_files import RunFiles

    if Path(name).suffix != ".safetensors":
        raise InputError(f"-o {name}: the file that is written is safetensors; give it the suffix .safetensors")
    files = RunFiles()
    files.reads(*inputs)
    files.writes(name, "the converted weights")
    files.check()


def _info(arguments: argparse.Namespace) -> None:
    from flowzoo.checkpoints.index import entries

    entry = entries().get(arguments.file)
    if entry is not None:
        if arguments.entry:
            raise InputError(f"--entry {arguments.entry}: {arguments.file} is a tag; give a file")
        print(json.dumps(vars(entry), indent=1) if arguments.json else _entry_text(entry))
        return
    from flowzoo.checkpoints import describe
    from flowzoo.checkpoints.loading import locate

    locate(arguments.file)
    found = describe(arguments.file, arguments.entry)
    if arguments.json:
        print(json.dumps(found, indent=1, sort_keys=True, default=str))
        return
    facts = found.pop("facts")
    found["models"] = ", ".join(found["models"]) or "none that the zoo knows"
    found["tags"] = ", ".join(found["tags"]) or "not in the index"
    for name in ("entry", "others", "ignored"):
        value = found.pop(name)
        if value:
            found[name] = value if isinstance(value, str) else ", ".join(value)
    _print_pairs([*found.items(), *((f"  {key}", value) for key, value in sorted(facts.items()))])


def _entry_text(entry: "Entry") -> str:
    rows: list[tuple[str, Any]] = [
        ("tag", entry.tag),
        ("model", entry.model),
        ("format", entry.format),
        ("licence", _licence(entry)),
    ]
    rows.append(("trained on", " > ".join(entry.trained_on)))
    for name in ("url", "file", "manual", "not_importable", "sha256", "sha256_prefix", "notes"):
        if getattr(entry, name):
            rows.append((name, getattr(entry, name)))
    if entry.bytes:
        rows.append(("bytes", str(entry.bytes)))
    if entry.settings:
        rows.append(("settings", " ".join(f"{key}={value}" for key, value in entry.settings.items())))
    text = _pairs_text(rows)
    for title, groups in (("published", entry.published), ("measured", entry.measured)):
        for group in groups:
            by = group.get("by") or group.get("command", "flowzoo")
            hint = "; in parentheses: trained on this data" if group.get("seen") else ""
            part = group.get("split") or f"{group.get('pairs', 'some')} pairs"
            text += f"\n{title} by {by} ({part}{hint})"
            for dataset, scores in group["scores"].items():
                seen = dataset in group.get("seen", ())
                values = ", ".join(f"{metric} {value}" for metric, value in scores.items())
                text += f"\n  {dataset:14s} {f'({values})' if seen else values}"
    return text


def _print_pairs(rows: Iterable[tuple[str, Any]]) -> None:
    print(_pairs_text(rows))


def _pairs_text(rows: Iterable[tuple[str, Any]]) -> str:
    return "\n".join(f"{key:15s} {value}" for key, value in rows)


def _print_table(rows: list[tuple[str, ...]]) -> None:
    """Columns as wide as their widest cell; the last one is free."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]))
