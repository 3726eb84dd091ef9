"""The versions that are compared: commits, or the files as they are, each compiled in its own folder."""

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import NamedTuple

from fastsoftmax.cli.errors import FAILED, CommandError

ROOT = Path(__file__).resolve().parents[2]
# Of the environment: a build for a debugger is not what is compared, nor one without the compiled backend.
_NOT_INHERITED = ("FASTSOFTMAX_BUILD", "FASTSOFTMAX_PURE")
_LINES_OF_A_LOG = 15


class Version(NamedTuple):
    """A version of the sources."""

    tree: str  # git's name of the content
    title: str


def of_commit(name: str) -> Version:
    """Return the version of a commit, which may be named in any way that git knows."""
    try:
        commit = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    except subprocess.CalledProcessError:
        raise CommandError(f"{name!r} is not a commit of this repository") from None
    title = _git("log", "-1", "--format=%h %s", commit)
    return Version(_git("rev-parse", f"{commit}^{{tree}}"), title)


def of_working_tree(folder: Path) -> Version:
    """Return the version of the files as they are, but for those that git ignores.

    `folder` is for a temporary index, so that what is staged stays as it is.
    """
    index = os.environ | {"GIT_INDEX_FILE": str(folder / "index")}
    _git("add", "--all", env=index)
    tree, head = _git("write-tree", env=index), of_commit("HEAD")
    if tree == head.tree:
        return head
    return Version(tree, f"working tree, on {head.title}")


def build(version: Version, folder: Path) -> Path:
    """Write the files of a version into a new folder, compile them in place, and return the folder.

    Both versions are compiled by the same compiler, for the instruction sets of this CPU, and run with the
    same Python and the same packages.
    """
    folder.mkdir(parents=True)
    files = subprocess.run(
        ["git", "archive", "--format=tar", version.tree], cwd=ROOT, check=True, capture_output=True
    )
    with tarfile.open(fileobj=io.BytesIO(files.stdout)) as archive:
        archive.extractall(folder, filter="data")
    environment = {name: v for name, v in os.environ.items() if name not in _NOT_INHERITED}
    environment |= {"FASTSOFTMAX_KERNELS": "native", "PYTHONPATH": str(folder)}
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    ran = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if ran.returncode == 0:
        command = [sys.executable, "-c", "import fastsoftmax.backends.compiled"]
        ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if ran.returncode:
        log = "\n".join((ran.stdout + (ran.stderr or "")).splitlines()[-_LINES_OF_A_LOG:])
        raise CommandError(f"{version.title}: does not build:\n{log}", FAILED)
    return folder


def _git(*arguments: str, env: dict[str, str] | None = None) -> str:
    try:
        ran = subprocess.run(
            ["git", *arguments], cwd=ROOT, env=env, check=True, capture_output=True, text=True
        )
    except FileNotFoundError:
        raise CommandError("needs git, which is not installed", FAILED) from None
    return ran.stdout.strip()
