"""scripts/completion.bash, with a stand-in for the program that knows a few names."""

import pathlib
import subprocess
import tempfile
import unittest

COMPLETION = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "completion.bash"
PROGRAM = """#!/bin/sh
test "$1" = complete || exit 2
case "$2 $3" in
  "verbs ") printf 'run\\nreport\\neval\\n' ;;
  "presets ") printf 'rtn\\nsage_paper\\nsage_honest\\n' ;;
  "components ") printf 'spectral\\nsigma\\n' ;;
  "options run") printf -- '--model\\n--method\\n--set\\n' ;;
  *) exit 2 ;;
esac
"""


class Completion(unittest.TestCase):
    def complete(self, *words):
        with tempfile.TemporaryDirectory() as folder:
            program = pathlib.Path(folder) / "sageptq"
            program.write_text(PROGRAM)
            program.chmod(0o755)
            (pathlib.Path(folder) / "model.yaml").write_text("")
            script = ('source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _sageptq; '
                      'printf "%s\\n" "${COMPREPLY[@]}"')
            outcome = subprocess.run(["bash", "-c", script, "bash", str(COMPLETION), str(program), *words], cwd=folder,
                                     capture_output=True, text=True, check=True)
            return sorted(outcome.stdout.split())

    def test_verbs(self):
        self.assertEqual(self.complete("r"), ["report", "run"])

    def test_presets(self):
        self.assertEqual(self.complete("run", "sage_"), ["sage_honest", "sage_paper"])
        self.assertEqual(self.complete("matrix", "--method", "r"), ["rtn"])

    def test_components(self):
        self.assertEqual(self.complete("describe", "s"), ["sage_honest", "sage_paper", "sigma", "spectral"])
        self.assertEqual(self.complete("run", "rtn", "--set", "grouping.type", "=", "sp"), ["spectral"])
        self.assertEqual(self.complete("run", "rtn", "--set", "grouping.type", "="), ["sigma", "spectral"])

    def test_options(self):
        self.assertEqual(self.complete("run", "rtn", "--m"), ["--method", "--model"])

    def test_files_where_no_name_fits(self):
        self.assertEqual(self.complete("run", "mod"), ["model.yaml"])
        self.assertEqual(self.complete("eval", "mod"), ["model.yaml"])


if __name__ == "__main__":
    unittest.main()
