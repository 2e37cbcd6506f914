"""scripts/completion.bash, with a stand-in for the program that shows what it is asked and answers from a few names."""

import pathlib
import subprocess
import tempfile
import unittest

COMPLETION = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "completion.bash"
PROGRAM = """#!/bin/bash
printf '[%s]' "$@" > asked
for name in run report eval pipeline.grouping=spectral pipeline.grouping=single pipeline.seed=; do
  case $name in "${@: -1}"*) echo "$name" ;; esac
done
"""


class Completion(unittest.TestCase):
    def complete(self, *words):
        """(what the program was asked, what the shell offers)"""
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            (folder / "sageptq").write_text(PROGRAM)
            (folder / "sageptq").chmod(0o755)
            (folder / "model.yaml").write_text("")
            script = ('source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _sageptq; '
                      'printf "%s\\n" "${COMPREPLY[@]}"')
            outcome = subprocess.run(["bash", "-c", script, "bash", str(COMPLETION), "./sageptq", *words], cwd=folder,
                                     capture_output=True, text=True, check=True)
            return (folder / "asked").read_text(), outcome.stdout.split()

    def test_words_are_passed_on(self):
        self.assertEqual(self.complete("r"), ("[__complete][r]", ["run", "report"]))
        self.assertEqual(self.complete("run", "rtn", "--mo")[0], "[__complete][run][rtn][--mo]")
        self.assertEqual(self.complete("run", "")[0], "[__complete][run][]")

    def test_assignments_are_whole_for_the_program_and_split_for_the_shell(self):
        asked, offered = self.complete("run", "rtn", "--set", "pipeline.grouping", "=", "s")
        self.assertEqual(asked, "[__complete][run][rtn][--set][pipeline.grouping=s]")
        self.assertEqual(offered, ["spectral", "single"])
        asked, offered = self.complete("run", "rtn", "--set", "pipeline.grouping", "=")
        self.assertEqual(asked, "[__complete][run][rtn][--set][pipeline.grouping=]")
        self.assertEqual(offered, ["spectral", "single"])
        self.assertEqual(self.complete("run", "--set", "a.b", "=", "v", "--set", "c")[0],
                         "[__complete][run][--set][a.b=v][--set][c]")
        self.assertEqual(self.complete("run", "--set", "pipeline.se")[1], ["pipeline.seed="])

    def test_files_where_no_name_fits(self):
        self.assertEqual(self.complete("run", "mod")[1], ["model.yaml"])
        asked, offered = self.complete("matrix", "--input", "model.yaml", ":", "mod")
        self.assertEqual((asked, offered), ("[__complete][matrix][--input][model.yaml:mod]", ["model.yaml"]))

    def test_a_program_that_fails_offers_files(self):
        script = 'source "$1"; COMP_WORDS=(/nonexistent/sageptq run mod); COMP_CWORD=2; _sageptq; echo "${#COMPREPLY[@]}"'
        with tempfile.TemporaryDirectory() as folder:
            outcome = subprocess.run(["bash", "-c", script, "bash", str(COMPLETION)], cwd=folder, capture_output=True, text=True)
        self.assertEqual((outcome.returncode, outcome.stdout), (0, "0\n"))


if __name__ == "__main__":
    unittest.main()
