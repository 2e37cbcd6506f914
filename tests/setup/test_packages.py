"""scripts/setup.sh packages, against a stand-in for dpkg and apt that records what it is asked."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "scripts"
NOBODY = 65534


class Packages(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.folder.chmod(0o755)
        for name in ("setup.sh", "packages.txt"):
            shutil.copy(SCRIPTS / name, self.folder / name)
        tools = self.folder / "bin"
        tools.mkdir()
        # dpkg-query -W -f=... PACKAGE: installed unless the file `missing` names it.
        self.write(tools / "dpkg-query", f'#!/bin/sh\ngrep -qx "$3" {self.folder}/missing && exit 1\nprintf installed\n')
        self.write(tools / "apt-get", f'#!/bin/sh\necho "$@" >> {self.folder}/calls\n')
        self.environment = dict(os.environ, PATH=f"{tools}:{os.environ['PATH']}")
        self.environment.pop("YES", None)

    @staticmethod
    def write(path, text):
        path.write_text(text)
        path.chmod(0o755)

    def run_setup(self, missing, stage="build", answer=None, as_nobody=False, **environment):
        (self.folder / "missing").write_text("".join(f"{name}\n" for name in missing))
        (self.folder / "calls").unlink(missing_ok=True)
        identity = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if as_nobody and os.geteuid() == 0 else {}
        outcome = subprocess.run(["bash", str(self.folder / "setup.sh"), "packages", stage], input=answer or "", text=True,
                                 capture_output=True, env=dict(self.environment, **environment), **identity)
        calls = (self.folder / "calls").read_text() if (self.folder / "calls").exists() else ""
        return outcome, calls

    def test_nothing_to_do(self):
        for stage in ("build", "test"):
            outcome, calls = self.run_setup([], stage)
            self.assertEqual((outcome.returncode, outcome.stdout, outcome.stderr, calls), (0, "", "", ""))

    def test_without_root_prints_the_line_and_stops(self):
        outcome, calls = self.run_setup(["libfmt-dev", "ninja-build"], as_nobody=True, YES="1")
        self.assertEqual(outcome.returncode, 3)
        self.assertIn("apt-get install -y --no-install-recommends libfmt-dev ninja-build\n", outcome.stderr)
        self.assertEqual(calls, "")

    def test_test_stage_adds_its_packages(self):
        self.assertEqual(self.run_setup(["clang"], "build", as_nobody=True)[0].returncode, 0)
        self.assertEqual(self.run_setup(["clang"], "test", as_nobody=True)[0].returncode, 3)

    @unittest.skipUnless(os.geteuid() == 0, "installing needs root")
    def test_yes_installs_exactly_what_is_missing(self):
        outcome, calls = self.run_setup(["libfmt-dev", "ninja-build"], YES="1")
        self.assertEqual(outcome.returncode, 0, outcome.stderr)
        self.assertEqual(calls, "update -qq\ninstall -y -qq --no-install-recommends libfmt-dev ninja-build\n")

    @unittest.skipUnless(os.geteuid() == 0, "installing needs root")
    def test_asks_once(self):
        outcome, calls = self.run_setup(["libfmt-dev", "ninja-build"], answer="y\n")
        self.assertEqual(outcome.returncode, 0, outcome.stderr)
        self.assertIn("install", calls)
        outcome, calls = self.run_setup(["libfmt-dev"], answer="n\n")
        self.assertEqual((outcome.returncode, calls), (3, ""))

    @unittest.skipUnless(os.geteuid() == 0, "installing needs root")
    def test_no_terminal_and_no_yes_stops_with_advice(self):
        outcome, calls = self.run_setup(["libfmt-dev"])
        self.assertEqual((outcome.returncode, calls), (3, ""))
        self.assertIn("YES=1", outcome.stderr)

    @unittest.skipUnless(os.geteuid() == 0, "installing needs root")
    def test_apt_failure_is_reported(self):
        self.write(self.folder / "bin" / "apt-get", "#!/bin/sh\nexit 100\n")
        outcome, _ = self.run_setup(["libfmt-dev"], YES="1")
        self.assertEqual(outcome.returncode, 3)
        self.assertIn("could not install libfmt-dev", outcome.stderr)


if __name__ == "__main__":
    unittest.main()
