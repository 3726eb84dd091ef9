"""Compares the files of an sdist with those that git has: `python check_sdist.py SDIST`.

In a folder without git it has nothing to compare with, and says so.
"""

import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
# What serves the repository alone, and what a build adds.
OF_THE_REPOSITORY = (".ci/", ".github/", ".gitignore")
OF_A_BUILD = ("PKG-INFO", "setup.cfg", "fastsoftmax.egg-info/")


def main():
    if not (ROOT / ".git").exists():
        print("sdist      not compared with git's files: this is no checkout")
        return
    with tarfile.open(sys.argv[1]) as archive:
        names = (Path(member.name) for member in archive if member.isfile())
        found = {Path(*name.parts[1:]).as_posix() for name in names}
    printed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    tracked = {name for name in printed.split("\0") if name and (ROOT / name).exists()}
    expected = {name for name in tracked if not name.startswith(OF_THE_REPOSITORY)}
    missing = sorted(expected - found)
    strange = sorted(name for name in found - expected if not name.startswith(OF_A_BUILD))
    if missing or strange:
        sys.exit(f"sdist: missing: {missing or 'none'}; not in git: {strange or 'none'}")
    print(f"sdist      {Path(sys.argv[1]).name}: all {len(expected)} files of git, nothing else")


if __name__ == "__main__":
    main()
