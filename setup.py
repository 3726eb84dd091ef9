"""Builds the compiled backend: the C kernels once per instruction set and type, and the Cython core.

Environment variables:

FASTSOFTMAX_PURE=1
    Install without the compiled backend.
FASTSOFTMAX_BUILD=release|debug|profile|asan|ubsan|tsan|coverage
    release (default): optimised. debug: no optimisation, symbols. profile: optimised, with
    symbols and frame pointers. asan, ubsan, tsan: with a sanitizer of GCC's or Clang's. coverage: counts
    how often each line of C and Cython runs, for gcov.
FASTSOFTMAX_KERNELS=avx2
    Build the kernels of one instruction set alone, or of several with spaces between them, as `make quick`
    does: what imports the core must have a CPU for one of them. native: those that this CPU has, as
    `make test` does; `make lint` compiles the others.

Objects stay in build/objects, with a list of what each was compiled from. The next build, whether it is
pip's or that of `setup.py build_ext --inplace`, compiles those alone whose sources, headers or flags have
changed.
"""

import json
import os
import re
import shutil
import sys
import sysconfig
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import NamedTuple

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

# Translation units of the kernels, those that take longest first.
KERNEL_SOURCES = [
    f"csrc/kernels/{name}.c"
    for name in ("kernels_loss", "kernels_slabs", "kernel_table", "kernels_panels")
]
INCLUDED = [str(path) for path in Path("fastsoftmax/backends/compiled").glob("*.pxi")]
API_HEADER = "fastsoftmax/include/fastsoftmax.h"
HEADERS = [*map(str, Path("csrc").rglob("*.h")), "csrc/build_flags.sh"]

# Those of GCC and Clang, by name.
FLAGS = {
    name: flags.split()
    for name, flags in re.findall(
        r'^(\w+)="(.*)"$',
        Path(__file__).with_name("csrc").joinpath("build_flags.sh").read_text(),
        re.M,
    )
}

# The instruction sets to compile for.
INSTRUCTION_SETS = ["portable"]
if sysconfig.get_platform().endswith(("x86_64", "amd64", "i686")):
    INSTRUCTION_SETS += ["avx2", "avx512"]
elif sysconfig.get_platform().endswith(("aarch64", "arm64")) and sys.maxsize > 2**32:
    # A 32-bit Python, which there is on 64-bit kernels too, does not have it.
    INSTRUCTION_SETS += ["neon"]


def of_this_cpu():
    """Return the instruction sets that this CPU has, or all where the system does not say."""
    try:
        has = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.M)[1].split()
    except (OSError, TypeError):
        return INSTRUCTION_SETS
    # GCC names the instructions in its flags as Linux does.
    needed = {n: re.findall(r"-m(\w+)(?!\S)", " ".join(FLAGS[n.upper()])) for n in INSTRUCTION_SETS}
    return [name for name, features in needed.items() if set(features) <= set(has)]


chosen = os.environ.get("FASTSOFTMAX_KERNELS", "").split()
IS_PARTIAL = bool(chosen) and chosen != ["native"]
if chosen == ["native"]:
    chosen = of_this_cpu()
if chosen:
    if unknown := set(chosen) - set(INSTRUCTION_SETS):
        sys.exit(
            f"FASTSOFTMAX_KERNELS: expected {', '.join(INSTRUCTION_SETS)}, got {unknown.pop()!r}"
        )
    INSTRUCTION_SETS = chosen
TYPES = ("float32", "float64")
# Is there while the core in the tree lacks instruction sets of this CPU: Makefile takes it for a source
# that is newer.
PARTIAL = Path("build", "partial")

# What -ffast-math stands for, in whole or in part, as GCC, Clang and Intel's compilers spell it.
FAST_MATH = re.compile(
    r"-Ofast|-ffast-math|-funsafe-math-optimizations|-f(associative|reciprocal)-math|-ffinite-math-only"
    r"|-fno-(signed-zeros|trapping-math|math-errno|honor-nans|honor-infinities)|-fapprox-func"
    r"|-fcx-limited-range|-fexcess-precision=fast|-fsingle-precision-constant|-ffp-(model|contract)=fast\S*"
    r"|-fp-model=fast\S*|-fdenormal-fp-math\S*=\S*|-mrecip\S*|-mdaz-ftz|-ftz|[-/]fp:fast"
)

BUILDS = {
    "release": [*FLAGS["RELEASE"], "-g0"],
    "debug": ["-O0", "-g"],
    "profile": [*FLAGS["RELEASE"], "-g", "-fno-omit-frame-pointer"],
    "asan": ["-O0", "-g1", "-fno-omit-frame-pointer", "-fsanitize=address"],
    "ubsan": ["-O0", "-g1", "-fsanitize=undefined", "-fno-sanitize-recover=all"],
    "tsan": ["-O0", "-g1", "-fsanitize=thread"],
    "coverage": ["-O0", "-g1", "--coverage", "-fprofile-update=atomic"],
}

BUILD = os.environ.get("FASTSOFTMAX_BUILD", "release")

# The free-threaded build of Python has no stable ABI to build against.
LIMITED_API = not sysconfig.get_config_var("Py_GIL_DISABLED")

NO_COMPILER = """
fastsoftmax: no working C compiler was found, and the compiled backend needs one. Install one and try
again:
  Debian, Ubuntu:  apt-get install build-essential
  Fedora:          dnf install gcc
  macOS:           xcode-select --install
  Windows:         Microsoft C++ Build Tools
Or install without the compiled backend: set the environment variable FASTSOFTMAX_PURE=1.
"""

NO_HEADERS = """
fastsoftmax: Python.h was not found, and the compiled backend needs Python's headers. Install them and try
again:
  Debian, Ubuntu:  apt-get install python3-dev
  Fedora:          dnf install python3-devel
Or install without the compiled backend: set the environment variable FASTSOFTMAX_PURE=1.
"""

ONLY_PORTABLE = """
fastsoftmax: compiling the portable kernels alone, which run on one thread: those for AVX2 and AVX-512, and
the thread pool, need clang-cl. Install "C++ Clang Compiler for Windows" of the Visual Studio Installer, or
LLVM, and install fastsoftmax again.
"""

WHY_NO_FAST_MATH = """the kernels rely on the order of their sums, on
NaN and on infinity, and linked so, a library turns subnormal numbers off for the whole process."""


class Unit(NamedTuple):
    """What one run of the compiler makes an object of."""

    source: str
    folder: str  # of its object, whose name follows from the source's
    macros: list[tuple[str, str]]
    include_dirs: list[str]
    flags: list[str]

    @property
    def object(self):
        """The path without its suffix, which is the compiler's."""
        return Path(self.folder, self.source).with_suffix("")


class BuildKernels(build_ext):
    """Compiles the kernels once per instruction set and type, and links them into the extension."""

    clang_cl = None  # on Windows, what compiles in place of MSVC

    def finalize_options(self):
        # pip's editable installs would have a temporary folder, and compile everything each time.
        if self.build_temp is None:
            python = f"{sysconfig.get_platform()}-{sys.implementation.cache_tag}"
            self.build_temp = os.path.join("build", "objects", f"{BUILD}-{python}")
        super().finalize_options()

    def build_extensions(self):
        self._remove_fast_math()
        self._require_compiler()
        super().build_extensions()

    def build_extension(self, extension):
        flags = self._flags()
        # The linker brings what an instrumented build calls.
        instruments = [flag for flag in flags if flag.startswith(("-fsanitize", "--coverage"))]
        sources, extension.sources = extension.sources, []
        extension.extra_link_args = [] if self._is_msvc() else ["-pthread", *instruments]
        extension.extra_objects = self._compile([*self._units(extension, sources, flags)])
        force, self.force = self.force, True
        try:
            # Links, always: what is there may be of another build.
            super().build_extension(extension)
        finally:
            extension.sources, self.force = sources, force
        PARTIAL.touch() if IS_PARTIAL else PARTIAL.unlink(missing_ok=True)

    def _remove_fast_math(self):
        """Take what CC, CFLAGS, CPPFLAGS and LDFLAGS say of fast math out of the commands, and say so."""
        removed = set()
        for command in vars(self.compiler).values():
            if isinstance(command, list) and all(isinstance(word, str) for word in command):
                removed.update(filter(FAST_MATH.fullmatch, command))
                command[:] = [word for word in command if not FAST_MATH.fullmatch(word)]
        if removed:
            print(f"fastsoftmax: compiling without {' '.join(sorted(removed))}: {WHY_NO_FAST_MATH}")

    def _is_msvc(self):
        return self.compiler.compiler_type == "msvc"

    def _is_msvc_alone(self):
        return self._is_msvc() and not self.clang_cl

    def _require_compiler(self):
        command = getattr(self.compiler, "compiler", None)  # a list; MSVC has none
        if self._is_msvc():
            try:
                self.compiler.initialize()
            except Exception as error:  # distutils has moved its exceptions more than once
                sys.exit(f"{NO_COMPILER}\n({error})")
            self._choose_clang_cl()
        elif not command or shutil.which(command[0]) is None:
            sys.exit(NO_COMPILER)
        if not self._is_msvc():
            self._try_compiler()
        folders = {sysconfig.get_paths()["include"], sysconfig.get_config_var("INCLUDEPY")}
        if not any(folder and Path(folder, "Python.h").is_file() for folder in folders):
            sys.exit(NO_HEADERS)

    def _choose_clang_cl(self):
        """Let clang-cl compile what MSVC then links, or say what is missing without it."""
        # Visual Studio has its own, in Llvm beside MSVC/<version>/bin/Host<cpu>/<cpu>/cl.exe.
        beside = os.path.join(self.compiler.cc, *[os.pardir] * 6, "Llvm", "x64", "bin")
        folders = os.pathsep.join([os.path.normpath(beside), os.environ.get("PATH", "")])
        if sysconfig.get_platform() == "win-amd64":
            self.clang_cl = shutil.which("clang-cl", path=folders)
        if self.clang_cl:
            self.compiler.cc = self.clang_cl
        else:
            print(ONLY_PORTABLE)

    def _try_compiler(self):
        """Compile next to nothing: a compiler may be there and not work, or lack its headers."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "nothing.c")
            source.write_text("#include <stdlib.h>\nint nothing(void) { return EXIT_SUCCESS; }\n")
            try:
                self.compiler.compile([str(source)], output_dir=folder)
            except Exception as error:  # distutils has moved its exceptions more than once
                sys.exit(f"{NO_COMPILER}\nThe one that was tried failed: {error}")

    def _flags(self):
        if BUILD not in BUILDS:
            sys.exit(f"FASTSOFTMAX_BUILD must be one of {', '.join(BUILDS)}, not {BUILD!r}")
        if self._is_msvc_alone():
            return ["/O2", "/std:c11", "/fp:precise"]
        return self._spelled([*FLAGS["COMMON"], *BUILDS[BUILD]])

    def _spelled(self, flags):
        """Return flags of GCC and Clang as the compiler takes them."""
        return [f"/clang:{flag}" for flag in flags] if self.clang_cl else flags

    def _instruction_sets(self):
        return ["portable"] if self._is_msvc_alone() else INSTRUCTION_SETS

    def _flags_of_set(self, name):
        if self._is_msvc_alone():
            return []
        flags = self._spelled(FLAGS[name.upper()])
        is_mingw = self.compiler.compiler_type == "mingw32"
        if is_mingw and name.startswith("avx") and "clang" not in self.compiler.compiler[0]:
            # GCC takes the stack for aligned to a vector, and Windows aligns it to 16 bytes (GCC's bug
            # 54412): the assembler makes aligned moves unaligned ones. Clang aligns the stack itself.
            flags = [*flags, "-Wa,-muse-unaligned-vector-move"]
        return flags

    def _units(self, extension, sources, flags):
        """Yield what is to be compiled, beginning with what takes longest."""
        for source in sources:
            # Those that are chosen change the list of kernels alone.
            have = self._instruction_sets() if source.endswith("dispatch.c") else ()
            yield Unit(
                source,
                self.build_temp,
                [*extension.define_macros, *((f"HAVE_{name.upper()}", "1") for name in have)],
                [*self.include_dirs, *extension.include_dirs],
                flags,
            )
        for source, name, type_name in product(KERNEL_SOURCES, self._instruction_sets(), TYPES):
            yield Unit(
                source,
                os.path.join(self.build_temp, f"{name}_{type_name}"),
                [(f"FASTSOFTMAX_{name.upper()}", "1"), (f"FASTSOFTMAX_{type_name.upper()}", "1")],
                ["csrc"],
                flags + self._flags_of_set(name),
            )

    def _compile(self, units):
        """Return the objects of all units, after those have been compiled that were not up to date."""
        with ThreadPoolExecutor(os.cpu_count()) as compilers:
            return [*compilers.map(self._compile_one, units)]

    def _compile_one(self, unit):
        compiled = f"{unit.object}{self.compiler.obj_extension}"
        # MSVC writes no list of what was included.
        listing = [] if self._is_msvc() else ["-MMD"]
        command = repr((getattr(self.compiler, "compiler_so", None), unit))
        record = unit.object.with_suffix(".command")
        if not self.force and self._is_up_to_date(unit, compiled, command, record):
            return compiled
        record.unlink(missing_ok=True)
        started = time.time()
        self.compiler.compile(
            [unit.source],
            output_dir=unit.folder,
            macros=unit.macros,
            include_dirs=unit.include_dirs,
            extra_postargs=[*unit.flags, *listing],
        )
        os.utime(compiled, (started, started))  # an edit since then is newer
        record.write_text(command)
        return compiled

    def _is_up_to_date(self, unit, compiled, command, record):
        """Whether an object is there, made by the same command from files as they are."""
        try:
            if record.read_text() != command:
                return False
            if self._is_msvc():
                files = [unit.source, *HEADERS, API_HEADER]
            else:
                rule = unit.object.with_suffix(".d").read_text()
                files = rule.partition(": ")[2].replace("\\\n", " ").split()
            made = os.stat(compiled).st_mtime
            return all(os.stat(file).st_mtime < made for file in files)
        except OSError:  # one is missing, or has been renamed
            return False


class WheelWithContents(bdist_wheel):
    """Puts a bill of materials (CycloneDX, PEP 770) beside the metadata: the wheel has only its own."""

    def egg2dist(self, egginfo_path, distinfo_path):
        super().egg2dist(egginfo_path, distinfo_path)
        project = self.distribution.metadata
        reference = f"pkg:pypi/{project.name}@{project.version}"
        component = {
            "type": "library",
            "bom-ref": reference,
            "name": project.name,
            "version": project.version,
            "purl": reference,
            "licenses": [{"license": {"id": project.license_expression}}],
        }
        bill = {
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "metadata": {"component": component},
            "components": [],
            "dependencies": [{"ref": reference}],
        }
        folder = Path(distinfo_path, "sboms")
        folder.mkdir(exist_ok=True)
        (folder / f"{project.name}.cdx.json").write_text(json.dumps(bill, indent=1) + "\n")


def remove_compiled():
    """Remove what an earlier build has compiled: an editable install of this tree would still find it."""
    for compiled in Path("fastsoftmax/backends/compiled").glob("_core*"):
        if compiled.suffix in (".so", ".pyd"):
            print(f"fastsoftmax: FASTSOFTMAX_PURE is set: removing {compiled}")
            compiled.unlink()


def extensions():
    """Return the one extension module, or none."""
    if os.environ.get("FASTSOFTMAX_PURE", "") not in ("", "0"):
        if "editable_wheel" in sys.argv:
            remove_compiled()
        return []
    from Cython.Build import cythonize

    core = Extension(
        "fastsoftmax.backends.compiled._core",
        sources=[
            "fastsoftmax/backends/compiled/_core.pyx",
            "csrc/kernels/dispatch.c",
            "csrc/runtime/timers.c",
            "csrc/runtime/thread_pool.c",
        ],
        include_dirs=["csrc", "fastsoftmax/include"],
        define_macros=[("Py_LIMITED_API", "0x030B0000")] if LIMITED_API else [],
        depends=[*HEADERS, *KERNEL_SOURCES, API_HEADER, *INCLUDED],
        py_limited_api=LIMITED_API,
    )
    return cythonize(
        [core],
        compiler_directives={"language_level": 3, "freethreading_compatible": True},
    )


setup(
    ext_modules=extensions(),
    cmdclass={"bdist_wheel": WheelWithContents, "build_ext": BuildKernels},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if LIMITED_API else {},
)
