"""A compiler for tests of when libraries are built: it does not optimise, and compiles each file once in a test run."""

import shutil
from pathlib import Path

NAMES = "c++", "g++", "clang++"


def quick_compiler(script: Path, kept: Path) -> Path:
    """Write `script`, which takes a compiler's options and has "-o FILE" last; what it made is copied from `kept`."""
    real = next((found for name in NAMES if (found := shutil.which(name))), NAMES[0])
    kept.mkdir(exist_ok=True)
    script.write_text(
        f"""#!/bin/bash
[ "$1" = --version ] && exec {real} --version
target="${{@: -1}}"; kept={kept}/$(printf '%s\\n' "${{@:1:$#-1}}" | sha256sum | cut -c1-16)
[ -e "$kept" ] || {{ {real} "${{@:1:$#-2}}" -O0 -o "$kept.$$" && mv "$kept.$$" "$kept"; }} && cp "$kept" "$target"
"""
    )
    script.chmod(0o755)
    return script
