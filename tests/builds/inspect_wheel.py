"""Prints what a wheel for Linux is and needs, and fails where it would not run elsewhere or lacks a file.

`python inspect_wheel.py WHEEL`, from a checkout, with auditwheel (for pyelftools) and abi3audit.
"""

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

ROOT = Path(__file__).parents[2]
# Parts of the C library. Whatever else is needed would have to be in the wheel.
SYSTEM = {
    "libc.so.6",
    "libm.so.6",
    "libpthread.so.0",
    "ld-linux-x86-64.so.2",
    "ld-linux-aarch64.so.1",
}
OLDEST_GLIBC = (2, 17)  # that of manylinux2014
SHIPPED = {"py.typed", "c_api.pxd", "include/fastsoftmax.h"}


def files_of_the_package():
    """What has to be in the wheel beside the extension."""
    package = ROOT / "fastsoftmax"
    modules = {
        path.relative_to(package).as_posix()
        for pattern in ("*.py", "*.pyi")
        for path in package.rglob(pattern)
    }
    return {f"fastsoftmax/{name}" for name in modules | SHIPPED}


def check_contents(names):
    """All modules, one extension, and nothing that only a build needs."""
    extensions = [name for name in names if name.endswith(".so")]
    assert extensions == ["fastsoftmax/backends/compiled/_core.abi3.so"], extensions
    found = {name for name in names if name.startswith("fastsoftmax/") and not name.endswith("/")}
    strange = (found - set(extensions)) ^ files_of_the_package()
    assert not strange, f"missing or not wanted: {sorted(strange)}"
    for shipped in ("licenses/LICENSE", "sboms/fastsoftmax.cdx.json"):
        assert any(name.endswith(f"dist-info/{shipped}") for name in names), shipped
    return extensions[0]


def needs_of(extension):
    """Return the libraries, and the versions of symbols of glibc, that a shared object asks for."""
    elf = ELFFile(io.BytesIO(extension))
    libraries, versions = set(), set()
    for section in elf.iter_sections():
        assert not section.name.startswith(".debug"), "symbols for a debugger: not stripped"
        if isinstance(section, DynamicSection):
            for tag in section.iter_tags():
                assert tag.entry.d_tag not in ("DT_RPATH", "DT_RUNPATH"), "a path of this machine"
                if tag.entry.d_tag == "DT_NEEDED":
                    libraries.add(tag.needed)
        elif isinstance(section, GNUVerNeedSection):
            versions |= {v.name for _, needed in section.iter_versions() for v in needed}
    numbers = sorted(tuple(map(int, v.removeprefix("GLIBC_").split("."))) for v in versions)
    return libraries, numbers


def verdict_of_abi3audit(wheel):
    """Symbols outside of the stable ABI, and those that are newer than the wheel's tag."""
    command = [Path(sys.executable).with_name("abi3audit"), "--strict", "--report", wheel]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode != 0:
        sys.exit(f"abi3audit: {ran.stdout}{ran.stderr}")
    (spec,) = json.loads(ran.stdout)["specs"].values()
    (result,) = (extension["result"] for extension in spec["wheel"])
    assert result["is_abi3"], result
    return f"abi3 from Python {result['baseline']}, no violation"


def main():
    wheel = Path(sys.argv[1])
    with zipfile.ZipFile(wheel) as file:
        extension = file.read(check_contents(file.namelist()))
    libraries, versions = needs_of(extension)
    assert libraries <= SYSTEM, f"libraries that are not the system's: {libraries - SYSTEM}"
    assert versions[-1] <= OLDEST_GLIBC, f"needs glibc {versions[-1]}"
    assert "manylinux_2_17" in wheel.name, wheel.name
    print(f"wheel      {wheel.name}")
    print(
        f"size       {wheel.stat().st_size / 2**20:.2f} MiB, extension {len(extension) / 2**20:.2f}"
    )
    print(f"glibc      {', '.join('.'.join(map(str, version)) for version in versions)}")
    print(f"libraries  {', '.join(sorted(libraries))}; none in the wheel")
    print(f"abi3audit  {verdict_of_abi3audit(wheel)}")


if __name__ == "__main__":
    main()
