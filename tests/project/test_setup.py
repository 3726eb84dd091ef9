"""setup.py: what stops it says what to install, and a pure build leaves nothing compiled behind."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

from fastsoftmax.backends import get_backend

SETUP = ROOT / "setup.py"
# In a folder of its own, where it finds no sources: all that it does is what a test asks for.
LOAD = f"""
import runpy, sysconfig, setuptools
setuptools.setup = lambda **_: None
module = runpy.run_path({str(SETUP)!r})
build = module["BuildKernels"](setuptools.Distribution())
from distutils.ccompiler import new_compiler
from distutils.sysconfig import customize_compiler
build.compiler = new_compiler()
customize_compiler(build.compiler)
"""
REQUIRE = "build._require_compiler()"
# Prints all commands that the compiler's object would run.
COMMANDS = """
build._remove_fast_math()
for command in vars(build.compiler).values():
    if isinstance(command, list): print(*command)
"""
FAST_MATH = [
    *("-ffast-math", "-Ofast", "-funsafe-math-optimizations", "-fassociative-math"),
    *("-freciprocal-math", "-ffinite-math-only", "-fno-signed-zeros", "-ffp-contract=fast"),
    *("-fno-trapping-math", "-ffp-model=fast", "-mdaz-ftz", "-fp-model=fast"),
]
NO_HEADERS = """
sysconfig.get_paths = lambda: {"include": "no/such/folder"}
sysconfig.get_config_var = lambda name: "no/such/folder"
"""


def after_loading(code, folder, **environment):
    """Exit code, standard output, standard error."""
    ran = subprocess.run(
        [sys.executable, "-c", LOAD + code],
        env={**os.environ, "FASTSOFTMAX_PURE": "1", **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return ran.returncode, ran.stdout, ran.stderr


def compiler_in(folder, script):
    """A program that is taken for the compiler."""
    compiler = folder / "compiler"
    compiler.write_text(f"#!/bin/sh\n{script}\n")
    compiler.chmod(0o755)
    return str(compiler)


def test_a_compiler_that_works_is_accepted(tmp_path):
    # Writes what follows -o: needs no compiler on the machine of the tests.
    works = 'while [ "$1" != -o ]; do shift; done; : > "$2"'
    include = "sysconfig.get_paths = lambda: {'include': '.'}\n"
    (tmp_path / "Python.h").touch()
    compiler = compiler_in(tmp_path, works)
    code, _, err = after_loading(include + REQUIRE, tmp_path, CC=compiler)
    assert (code, err) == (0, "")
    code, _, err = after_loading(NO_HEADERS + REQUIRE, tmp_path, CC=compiler)
    assert code == 1
    for word in ("Python.h", "python3-dev", "python3-devel", "FASTSOFTMAX_PURE=1"):
        assert word in err
    assert "Traceback" not in err


def test_a_compiler_that_is_there_but_fails_is_shown_with_its_error(tmp_path):
    broken = compiler_in(tmp_path, "echo licence expired >&2; exit 3")
    code, _, err = after_loading(REQUIRE, tmp_path, CC=broken)
    assert code == 1
    for word in ("no working C compiler", "licence expired", "FASTSOFTMAX_PURE=1"):
        assert word in err
    assert re.search(r"tried failed: .*exit (code|status) 3", err)
    assert "Traceback" not in err


def test_a_compiler_that_is_not_there_is_said_to_be_missing(tmp_path):
    code, _, err = after_loading(REQUIRE, tmp_path, CC="no-such-compiler")
    assert code == 1
    assert "no working C compiler" in err


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="only Linux says what the CPU has")
def test_native_are_the_instruction_sets_that_run_here(tmp_path):
    runs = get_backend("compiled").instruction_sets()
    code, out, err = after_loading(
        "print(*module['INSTRUCTION_SETS'])", tmp_path, FASTSOFTMAX_KERNELS="native"
    )
    assert (code, err) == (0, "")
    assert set(out.split()) == set(runs)
    code, _, err = after_loading("", tmp_path, FASTSOFTMAX_KERNELS="avx3")
    assert code == 1
    assert re.search("FASTSOFTMAX_KERNELS: expected .*'avx3'", err)


# As on Windows: what MSVC's object would run, with its compiler where Visual Studio has it.
ON_WINDOWS = """
import os
sysconfig.get_platform = lambda: "win-amd64"
build.compiler.compiler_type = "msvc"
build.compiler.cc = os.path.abspath("VC/Tools/MSVC/14.4/bin/Hostx64/x64/cl.exe")
build.build_temp, build.include_dirs = "objects", []
build._choose_clang_cl()
print("compiler:", build.compiler.cc)
core = setuptools.Extension("core", [])
units = [*build._units(core, ["csrc/kernels/dispatch.c"], build._flags())]
print("macros:", *(name for name, _ in units[0].macros))
for unit in units[1:]: print("flags:", *unit.flags)
"""


@pytest.mark.parametrize("place", ["of Visual Studio", "on the path", "none"])
def test_on_windows_clang_compiles_the_wide_instruction_sets(tmp_path, place):
    folder = tmp_path / "VC/Tools/Llvm/x64/bin" if place == "of Visual Studio" else tmp_path / "bin"
    folder.mkdir(parents=True)
    clang = folder / "clang-cl"
    if place != "none":
        clang.touch()
        clang.chmod(0o755)
    module = "module['INSTRUCTION_SETS'][:] = ['portable', 'avx2', 'avx512']\n"
    code, out, err = after_loading(module + ON_WINDOWS, tmp_path, PATH=str(tmp_path / "bin"))
    assert (code, err) == (0, "")
    lines = out.splitlines()
    macros = next(line for line in lines if line.startswith("macros:")).split()[1:]
    flags = [line.split()[1:] for line in lines if line.startswith("flags:")]
    if place == "none":
        assert "portable kernels alone" in out
        assert "cl.exe" in out
        assert macros == ["HAVE_PORTABLE"]
        assert {*flags[0]} == {"/O2", "/std:c11", "/fp:precise"}
        return
    assert f"compiler: {clang}" in lines
    assert macros == ["HAVE_PORTABLE", "HAVE_AVX2", "HAVE_AVX512"]
    shipped = dict(re.findall(r'^(\w+)="(.*)"$', (ROOT / "csrc/build_flags.sh").read_text(), re.M))
    for name in ("COMMON", "RELEASE"):
        assert all(f"/clang:{flag}" in unit for unit in flags for flag in shipped[name].split())
    for name in ("AVX2", "AVX512"):
        wanted = {f"/clang:{flag}" for flag in shipped[name].split()}
        assert any(wanted <= {*unit} for unit in flags)


@pytest.mark.parametrize(("program", "is_told"), [("gcc", True), ("clang", False)])
def test_gcc_for_windows_makes_no_aligned_moves(tmp_path, program, is_told):
    code = """
build.compiler.compiler_type = "mingw32"
print(*build._flags_of_set("avx2"), *build._flags_of_set("portable"))
"""
    code, out, err = after_loading(code, tmp_path, CC=program)
    assert (code, err) == (0, "")
    assert out.count("-Wa,-muse-unaligned-vector-move") == is_told


def test_what_has_not_changed_is_not_compiled_again(tmp_path):
    # Notes that it was called, and writes an object and, as GCC does, over two lines what it includes.
    script = """
echo called >> calls
while [ "$1" != -o ]; do shift; done
: > "$2"
printf '%s: a.c \\\\\\n a.h\\n' "$2" > "${2%.o}.d"
"""
    (tmp_path / "a.c").touch()
    (tmp_path / "a.h").touch()
    code = """
import os, time
def compiled(flags, later=()):
    for name in later:
        os.utime(name, (time.time() + 5, time.time() + 5))
    before = len(open("calls").readlines()) if os.path.exists("calls") else 0
    build._compile([module["Unit"]("a.c", "objects", [], [], flags)])
    return len(open("calls").readlines()) - before
for name in ("a.c", "a.h"):
    os.utime(name, (1, 1))
build.force = False
print(compiled(["-O1"]), compiled(["-O1"]), compiled(["-O2"]), compiled(["-O2"]))
print(compiled(["-O2"], ["a.h"]))
os.utime("a.h", (1, 1))
print(compiled(["-O2"]), compiled(["-O2"], ["a.c"]))
os.utime("a.c", (1, 1))
print(compiled(["-O2"]))
os.remove("a.h")
print(compiled(["-O2"]))
"""
    code, out, err = after_loading(code, tmp_path, CC=compiler_in(tmp_path, script))
    assert (code, err) == (0, "")
    assert out.split() == ["1", "0", "1", "0", "1", "0", "1", "0", "1"]


@pytest.mark.parametrize("variable", ["CC", "CFLAGS", "CPPFLAGS", "LDFLAGS"])
def test_fast_math_is_taken_out_of_every_command(tmp_path, variable):
    program = ["some-cc"] if variable == "CC" else []
    flags = " ".join([*program, "-march=core2", *FAST_MATH])
    code, out, err = after_loading(COMMANDS, tmp_path, **{"CC": "some-cc", variable: flags})
    assert (code, err) == (0, "")
    message, *commands = out.splitlines()
    assert message.startswith("fastsoftmax: compiling without ")
    assert all(flag in message for flag in FAST_MATH)
    words = " ".join(commands).split()
    assert "-march=core2" in words  # which is the caller's to say
    assert not set(FAST_MATH) & set(words)


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
@pytest.mark.parametrize("flag", ["-ffast-math", "-Ofast", "-ffinite-math-only"])
def test_fast_math_that_is_found_too_late_does_not_compile(tmp_path, flag):
    """As where the compiler is a script that adds it."""
    source = tmp_path / "source.c"
    source.write_text('#include "runtime/platform.h"\n')
    command = ["cc", "-std=gnu11", "-D_GNU_SOURCE", "-fsyntax-only", f"-I{SETUP.parent / 'csrc'}"]
    plain = subprocess.run([*command, str(source)], capture_output=True, text=True)
    assert (plain.returncode, plain.stderr) == (0, "")
    fast = subprocess.run([*command, flag, str(source)], capture_output=True, text=True)
    assert fast.returncode != 0
    assert "results would be wrong" in fast.stderr


def test_nothing_turns_subnormal_numbers_off():
    code = """
import numpy as np
smallest = np.array([np.finfo(np.float64).smallest_subnormal])
import fastsoftmax
fastsoftmax.softmax(np.zeros((2, 3)))
assert smallest * 1.0 > 0
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_pure_editable_install_removes_what_an_earlier_one_compiled(tmp_path):
    folder = tmp_path / "fastsoftmax" / "backends" / "compiled"
    folder.mkdir(parents=True)
    kept = {"_core.pyx", "_core.pyi", "_core.c", "__init__.py"}
    for name in kept | {"_core.abi3.so", "_core.cp311-win_amd64.pyd"}:
        (folder / name).touch()
    before = {path.name for path in folder.iterdir()}
    assert after_loading("", tmp_path) == (
        0,
        "",
        "",
    )  # as another build is: that is no business of theirs
    assert {path.name for path in folder.iterdir()} == before
    code, out, err = after_loading(
        "import sys; sys.argv.append('editable_wheel'); module['extensions']()", tmp_path
    )
    assert (code, err) == (0, "")
    assert {path.name for path in folder.iterdir()} == kept
    assert out.count("removing") == 2
    assert "_core.abi3.so" in out
