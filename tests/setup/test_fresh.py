"""scripts/fresh.sh with stand-ins for debootstrap and chroot: what it refuses, what a system in it sees, and what it leaves behind."""

import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "scripts"
NOBODY = 65534
MAY_MOUNT = os.geteuid() == 0 and subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], capture_output=True).returncode == 0

DEBOOTSTRAP = """#!/bin/sh
for target; do case $target in */base.part) break ;; esac; done
mkdir -p "$target/proc" "$target/sys" "$target/dev/pts" "$target/dev/shm" "$target/root" "$target/etc/apt/apt.conf.d" "$target/etc/ssl"
: > "$target/dev/ptmx"
"""
# Stands in for a whole system: `make` is what a test says, packages are lines of a file.
CHROOT = """#!/bin/bash
system=$1; shift
case " $* " in
  *" dpkg-query "*) cat "$system/packages" 2> /dev/null ;;
  *" make "*) printf '%s\\n' "$@" > FOLDER/environment; source FOLDER/make ;;
esac
"""


def write(path, text):
    path.write_text(text)
    path.chmod(0o755)


class Fresh(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.folder.chmod(0o755)
        self.work = self.folder / "work"
        self.repository = self.folder / "repository"
        (self.repository / "scripts").mkdir(parents=True)
        for name in ("fresh.sh", "setup.sh", "packages.txt"):
            shutil.copy(SCRIPTS / name, self.repository / "scripts" / name)
        for command in (["init", "-q"], ["add", "scripts"], ["-c", "user.name=a", "-c", "user.email=b", "commit", "-qm", "one"]):
            subprocess.run(["git", *command], cwd=self.repository, check=True)
        self.tools = self.folder / "tools"
        self.tools.mkdir()
        write(self.tools / "debootstrap", DEBOOTSTRAP)
        write(self.tools / "chroot", CHROOT.replace("FOLDER", str(self.folder)))
        self.environment = {"PATH": f"{self.tools}:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(self.folder), "CUDACXX": "/no/nvcc",
                            "FRESH_DIR": str(self.work)}

    def make(self, script):
        (self.folder / "make").write_text(script)

    def fresh(self, *arguments, expect, environment=None, **options):
        done = subprocess.run(["scripts/fresh.sh", *arguments], cwd=self.repository, text=True, capture_output=True, timeout=60,
                              env={**self.environment, **(environment or {})}, **options)
        self.assertEqual(done.returncode, expect, done.stdout + done.stderr)
        return done

    def test_wrong_arguments(self):
        self.assertIn("found the argument 'quick'; expected none", self.fresh("quick", expect=2).stderr)
        self.assertIn("FRESH: found 'gpu'; expected cpu, cuda or both", self.fresh(expect=2, environment={"FRESH": "cpu gpu"}).stderr)
        self.assertIn("FRESH_STEPS: found 'a;b'", self.fresh(expect=2, environment={"FRESH_STEPS": "a;b"}).stderr)
        self.assertIn("cuda wants a CUDA toolkit", self.fresh(expect=3, environment={"FRESH": "cuda"}).stderr)
        self.assertFalse(self.work.exists())

    @unittest.skipUnless(os.geteuid() == 0, "becoming somebody else needs root")
    def test_root_is_needed(self):
        said = self.fresh(expect=3, user=NOBODY, group=NOBODY, extra_groups=[]).stderr
        self.assertIn("expected root", said)
        self.assertIn("sudo make fresh", said)

    @unittest.skipUnless(os.geteuid() == 0, "only root gets so far")
    def test_debootstrap_is_needed(self):
        tools = self.folder / "without"
        tools.mkdir()
        for name in ("bash", "dirname", "readlink", "id", "git", "unshare", "chroot", "env"):
            (tools / name).symlink_to(shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin"))
        said = self.fresh(expect=3, environment={"PATH": str(tools)}).stderr
        self.assertIn("debootstrap: not found", said)
        self.assertIn("apt-get install -y --no-install-recommends debootstrap", said)

    @unittest.skipUnless(MAY_MOUNT, "only root, and where it may mount, gets so far")
    def test_a_folder_of_somebody_else_is_left_alone(self):
        self.work.mkdir()
        (self.work / "base").write_text("precious")
        self.assertIn("holds other things (base)", self.fresh(expect=3).stderr)
        self.assertEqual((self.work / "base").read_text(), "precious")

    @unittest.skipUnless(MAY_MOUNT, "needs root that may mount")
    def test_what_a_system_sees(self):
        toolkit = self.folder / "toolkit-1"
        for name in ("bin/nvcc", "include/cuda_runtime_api.h"):
            (toolkit / name).parent.mkdir(parents=True)
            write(toolkit / name, "")
        (self.folder / "toolkit").symlink_to(toolkit)
        (self.folder / "certificates").write_text("certificate")
        self.make('touch "$system/usr/local/cuda/written" 2> /dev/null && echo WRITABLE\n'
                  'echo "pass with $(cd "$system/usr/local/cuda" 2> /dev/null && ls)" | tr "\\n" " "\n'
                  'echo "$(cat "$system/etc/ssl/host-certificates.pem"), cache: $(ls "$system/root/.cache/ccache")"\n'
                  ': > "$system/root/.cache/ccache/object"; git -C "$system/root/sage-ptq" status --porcelain\n'
                  '[ -e "$system/proc/1/stat" ] && [ "$(ls -d $system/proc/[0-9]* | wc -l)" -lt 12 ] && echo own processes\n'
                  'printf "%s installed\\n" cmake clang libc6 >> "$system/packages"\n'
                  'case "$*" in *"make test"*) echo "100% tests passed, 0 tests failed out of 7" ;; esac\n')
        (self.repository / "untracked").write_text("")
        done = self.fresh(expect=0, environment={"CUDACXX": str(self.folder / "toolkit/bin/nvcc"), "SECRET": "of the host", "PIP_CERT": str(self.folder / "certificates"),
                                                 "PIP_INDEX_URL": "https://me:word@index/simple", "OPENBLAS_CORETYPE": "Haswell", "MAKEFLAGS": "-j9"})
        said = done.stdout
        self.assertIn("note: changes that are not committed are not in it", said)
        self.assertIn("PIP_INDEX_URL=https://***@index/simple", said)
        self.assertNotIn("me:word", said)
        self.assertNotIn("WRITABLE", said)
        self.assertNotIn("untracked", said)
        self.assertEqual(said.count("own processes"), 4)
        seen = [" ".join(line.split()) for line in said.splitlines() if line.startswith("pass with")]
        self.assertEqual(seen, ["pass with certificate, cache:", "pass with certificate, cache: object",
                                *["pass with bin include certificate, cache: object"] * 2])
        self.assertFalse((toolkit / "written").exists())
        self.assertEqual(said.count("set-up installed 3 packages: 2 of scripts/packages.txt (clang cmake)"), 2)
        handed = (self.folder / "environment").read_text().splitlines()
        self.assertEqual(handed[:2], ["/usr/bin/env", "-i"])
        names = {word.split("=")[0] for word in handed if "=" in word and not word.startswith("-")}
        self.assertEqual(names, {"HOME", "PATH", "TERM", "LANG", "PIP_INDEX_URL", "PIP_CERT", "YES"})
        self.assertEqual(handed[-3:], ["make", "test", "YES=1"])
        closing = [line.split() for line in said.split("s in all")[1].splitlines()[1:]]
        self.assertEqual([line[:3] for line in closing], [["minimal", "Debian", "ok"], *([p, s, "ok"] for p in ("cpu", "cuda") for s in ("quickstart", "test"))])
        self.assertIn("100% tests passed, 0 tests failed out of 7", said.splitlines()[-1])
        self.assertFalse(self.work.exists())
        self.assertEqual(sorted(p.name for p in (self.repository / "build/fresh").iterdir()),
                         ["cpu-quickstart.log", "cpu-test.log", "cuda-quickstart.log", "cuda-test.log", "debootstrap.log"])

    @unittest.skipUnless(MAY_MOUNT, "needs root that may mount")
    def test_a_step_that_fails(self):
        self.work.mkdir()
        self.make("echo broken >&2; exit 2\n")
        done = self.fresh(expect=1, environment={"FRESH": "cpu"})
        self.assertIn("broken", done.stdout)
        self.assertIn("cpu quickstart     failed", done.stdout)
        self.assertIn("exit status 2", done.stdout)
        self.assertNotIn("== cpu: make test", done.stdout)
        self.assertEqual(done.stdout.splitlines()[-1].split(), ["cpu", "test", "not", "run"])
        self.assertEqual(list(self.work.iterdir()), [])

    @unittest.skipUnless(MAY_MOUNT, "needs root that may mount")
    def test_no_minimal_debian(self):
        write(self.tools / "debootstrap", "#!/bin/sh\necho E: no mirror; exit 1\n")
        done = self.fresh(expect=3)
        self.assertIn("E: no mirror", done.stdout)
        self.assertIn("FRESH_MIRROR", done.stderr)
        self.assertFalse(self.work.exists())

    @unittest.skipUnless(MAY_MOUNT, "needs root that may mount")
    def test_interrupted(self):
        # Wherever it is: in debootstrap, and in a step with a mounted folder of the host.
        slow = f"sleep 1000 & echo $! > {self.folder}/started; wait\n"
        precious = self.folder / "toolkit"
        for where in ("debootstrap", "step"):
            for number in (signal.SIGINT, signal.SIGTERM):
                write(self.tools / "debootstrap", DEBOOTSTRAP + (slow if where == "debootstrap" else ""))
                self.make(slow)
                for name in ("bin/nvcc", "include/cuda_runtime_api.h"):
                    (precious / name).parent.mkdir(parents=True, exist_ok=True)
                    write(precious / name, "")
                (self.folder / "started").unlink(missing_ok=True)
                process = subprocess.Popen(["scripts/fresh.sh"], cwd=self.repository, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                           env={**self.environment, "CUDACXX": str(precious / "bin/nvcc"), "FRESH": "cuda"})
                for _ in range(400):
                    if (self.folder / "started").exists():
                        break
                    time.sleep(0.05)
                self.assertIn(str(self.work), self.sleepers(), "the test does not see what it started")
                process.send_signal(number)
                _, said = process.communicate(timeout=30)
                self.assertEqual((process.returncode, "interrupted" in said), (130, True), said)
                self.assertFalse(self.work.exists(), where)
                self.assertTrue((precious / "bin/nvcc").exists())
                self.assertNotIn(str(self.work), self.sleepers())

    def sleepers(self):
        """Command lines of all processes that name this test's folder or were started for it."""
        lines = []
        for process in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            try:
                lines.append(process.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:
                pass
        return "\n".join(line for line in lines if str(self.work) in line)


if __name__ == "__main__":
    unittest.main()
