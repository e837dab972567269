"""Say in one line what this machine lacks to build lpnum, and how to get it; silent and exit code 0 if nothing.

Run by the Makefile before it creates the virtual environment. It must also *parse* on the old interpreters it turns
away, hence no f-strings, annotations or imports that Python 2.7 does not have.
"""

import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile

WANTED = (3, 11)


def missing_python():
    """The interpreter is too old."""
    if sys.version_info[:2] < WANTED:
        return "found Python %d.%d (%s), lpnum needs %d.%d or newer; name another: make PYTHON=/path/to/python3" % (
            sys.version_info[:2] + (sys.executable,) + WANTED
        )
    return None


def missing_venv():
    """The standard library's venv, or the pip that it puts in: Debian and Ubuntu package both apart."""
    try:
        import ensurepip
        import venv  # noqa: F401

        ensurepip.version()  # fails where the module is there and the pip it should bring is not
    except Exception as error:
        return "%s cannot create virtual environments (%s); Debian, Ubuntu: apt-get install python3-venv" % (
            sys.executable,
            error,
        )
    return None


def compiles(command, source):
    """Whether the compiler turns the source text into an object file."""
    folder = tempfile.mkdtemp()
    path = os.path.join(folder, "probe.c")
    target = os.path.join(folder, "probe.o")
    try:
        with open(path, "w") as file:
            file.write(source)
        with open(os.devnull, "w") as nowhere:
            return subprocess.call(command + ["-c", path, "-o", target], stdout=nowhere, stderr=nowhere) == 0
    except OSError:
        return False
    finally:
        for name in os.listdir(folder):
            os.remove(os.path.join(folder, name))
        os.rmdir(folder)


def missing_compiler():
    """A C compiler that works, with the C library's headers; then Python's own headers."""
    if os.name == "nt":
        return None  # setuptools looks for Visual C++ by itself and says what to install
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    if not compiles(compiler, "#include <stdlib.h>\nint probe(void) { return EXIT_SUCCESS; }\n"):
        advice = "Debian, Ubuntu: apt-get install build-essential; or name one: make CC=/path/to/cc"
        return "no working C compiler (tried %s); %s" % (compiler[0], advice)
    include = sysconfig.get_paths()["include"]
    if not os.path.exists(os.path.join(include, "Python.h")):
        return "no Python.h in %s; Debian, Ubuntu: apt-get install python3-dev" % include
    return None


def main():
    """Report the first thing that is missing."""
    for check in (missing_python, missing_venv, missing_compiler):
        problem = check()
        if problem:
            sys.stderr.write("error: " + problem + "\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
