"""The one file of interest inside a tar archive, read in memory, never unpacked to disk."""

import lzma
import tarfile
import zlib
from pathlib import Path

from flowzoo.errors import InputError

LARGEST_MEMBER = 2**30


def is_archive(head: bytes) -> bool:
    """Whether a file that begins like this is a tar archive, plain or compressed."""
    return head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00")) or head[257:262] == b"ustar"


def only_member(path: Path, suffix: str) -> bytes:
    """Content of the one member whose name ends with `suffix`.

    Raises:
        InputError: the archive is damaged, has no such member or several, or one beyond 1 GiB.
    """
    try:
        with tarfile.open(path) as archive:
            # Hidden files beside the real ones ("._name") are left by one operating system's tar.
            members = [
                m for m in archive if m.isfile() and m.name.endswith(suffix) and not Path(m.name).name.startswith(".")
            ]
            if len(members) != 1:
                found = "none" if not members else ", ".join(m.name for m in members[:3])
                raise InputError(f"{path} must hold exactly one *{suffix}, found {found}")
            if members[0].size > LARGEST_MEMBER:
                raise InputError(f"{members[0].name} in {path} claims {members[0].size} bytes: the archive is damaged")
            file = archive.extractfile(members[0])
            content = file.read() if file else b""
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{path} is a damaged or truncated archive ({reason}): fetch it again") from error
    if len(content) != members[0].size:
        raise InputError(f"{path} is a truncated archive: fetch it again")
    return content
