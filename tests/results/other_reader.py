"""What the scripts beside this one share: the right Python, and files to read."""
import contextlib
import importlib
import os
import pathlib
import subprocess
import sys
import tempfile

SKIPPED = 77


def need(*modules):
    """The modules, from this Python or from $SAGE_PYTHON; exit code 77 if neither has them."""
    try:
        return [importlib.import_module(m) for m in modules]
    except ImportError as e:
        other = os.environ.get("SAGE_PYTHON", "")
        if other and os.path.exists(other) and not os.environ.get("SAGE_PYTHON_TRIED"):
            os.environ["SAGE_PYTHON_TRIED"] = "1"
            os.execv(other, [other] + sys.argv)
        print(f"skipped: {e}; set SAGE_PYTHON to the python of an environment that has it")
        sys.exit(SKIPPED)


@contextlib.contextmanager
def samples():
    """A folder with sample.h5, a small sweep's run files and its sweep.json, written by the C++ test program (argv[1])."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.argv[1], "--gtest_filter=RunFile.SamplesForOtherReaders"], check=True, stdout=subprocess.DEVNULL,
                       env={**os.environ, "SAGE_SAMPLE_FOLDER": folder})
        yield pathlib.Path(folder)
