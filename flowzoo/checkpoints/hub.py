"""Files of the Hugging Face hub: `hub:owner/name@revision` stands for weights where a tag or a file does. No torch."""

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowzoo.errors import InputError
from flowzoo.extras import needed_for
from flowzoo.files.reading import reason, shown

PREFIX = "hub:"
WEIGHTS = "model.safetensors"
"""Name of the weights in a folder of the hub, and in those that `save_pretrained` writes."""
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_REFERENCE = re.compile(rf"({_NAME}/{_NAME})(?:/([^@]{{1,200}}))?(?:@([A-Za-z0-9][A-Za-z0-9._/-]{{0,199}}))?")
_LOG = logging.getLogger("flowzoo")


@dataclass(frozen=True)
class Reference:
    """A file of the hub.

    Attributes:
        repository: owner/name.
        file: its path there.
        revision: a commit, a tag or a branch; None = the branch that the repository shows, whatever it is by then.
    """

    repository: str
    file: str
    revision: str | None


def parse(text: str) -> Reference:
    """The reference `owner/name[/FILE][@REVISION]`, with or without "hub:" in front.

    Raises:
        InputError: it is not of this form.
    """
    found = _REFERENCE.fullmatch(text.removeprefix(PREFIX))
    parts = ((found[2] or WEIGHTS) if found else "..").split("/")
    if found is None or any(part in ("", ".", "..") for part in parts):
        raise InputError(
            f"{shown(text, 200)} is no reference to the hub: write hub:owner/name@revision, or "
            "hub:owner/name/FILE@revision for another file than model.safetensors"
        )
    return Reference(found[1], "/".join(parts), found[3])


def fetch(text: str) -> Path:
    """The file that a reference stands for, from the hub's own cache or downloaded there.

    HF_HUB_OFFLINE, HF_ENDPOINT, HF_TOKEN and HF_HOME do as they do for all programs; FLOWZOO_OFFLINE forbids downloads,
    too.

    Raises:
        InputError: no such reference or file, no network, or the extra is not installed.
    """
    wanted = parse(text)
    with needed_for(f"{shown(text, 200)} needs", "huggingface_hub", "hub"):
        from huggingface_hub import errors, hf_hub_download

    from flowzoo.checkpoints.download import offline

    no_answer: type[Exception] = getattr(errors, "HTTPError", OSError)  # of whichever library it uses
    options: dict[str, Any] = {"revision": wanted.revision, "endpoint": os.environ.get("HF_ENDPOINT")}
    try:
        path = Path(hf_hub_download(wanted.repository, wanted.file, local_files_only=offline(), **options))
    except errors.LocalEntryNotFoundError as error:
        raise InputError(
            f"{shown(text, 200)} is not in the hub's cache and cannot be fetched: no network, or HF_HUB_OFFLINE or "
            "FLOWZOO_OFFLINE is set"
        ) from error
    except errors.EntryNotFoundError as error:
        raise InputError(
            f"{shown(text, 200)}: {wanted.repository} has no file {wanted.file}; name another one as "
            "hub:owner/name/FILE@revision"
        ) from error
    except (errors.HfHubHTTPError, no_answer, OSError, ValueError) as error:
        raise InputError(f"cannot fetch {shown(text, 200)}: {reason(error)}") from error
    if wanted.revision is None:
        commit = re.search(r"snapshots/([0-9a-f]{40})/", path.as_posix())
        if commit:
            _LOG.info("%s without @revision is %s today: hub:%s@%s", text, commit[1], wanted.repository, commit[1])
    return path
