"""What the fetch scripts share: the cache folder, hash-checked downloads through pip, and folders that appear whole or not
at all."""

import contextlib
import errno
import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

SCRIPTS = pathlib.Path(__file__).resolve().parent


class FetchError(Exception):
    """Message reads `where: what was found; what was expected; what to do.`"""


def cache_folder():
    """$SAGEPTQ_CACHE, else sage-ptq in the user's cache folder (XDG)."""
    explicit = os.environ.get("SAGEPTQ_CACHE")
    if explicit:
        return pathlib.Path(explicit).expanduser().resolve()
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return pathlib.Path(base) / "sage-ptq"


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def read_digests(path):
    """{name: sha256} of a file in sha256sum's format; lines that start with # are comments."""
    digests = {}
    for number, line in enumerate(pathlib.Path(path).read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split()
        if len(fields) != 2 or len(fields[0]) != 64:
            raise FetchError(f"{path}:{number}: {line!r}; expected `sha256  name`; restore the file from the repository.")
        digests[fields[1]] = fields[0]
    return digests


def pinned(requirements):
    """(package, version, [sha256, ...]) of a requirements file that pins exactly one wheel."""
    text = pathlib.Path(requirements).read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.split("#")[0].split() for line in text.splitlines() if line.split("#")[0].strip()]
    if len(lines) != 1 or "==" not in lines[0][0]:
        raise FetchError(f"{requirements}: {len(lines)} requirements; expected one `name==version --hash=sha256:...`; restore "
                         "the file from the repository.")
    name, version = lines[0][0].split("==")
    return name, version, [word.split("sha256:")[1] for word in lines[0][1:] if word.startswith("--hash=sha256:")]


def download_wheel(requirements, folder, extra_options=()):
    """Path of the wheel that `requirements` pins, in `folder`; downloads it unless a copy with the right digest lies there."""
    name, version, digests = pinned(requirements)
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)

    def stored():
        for wheel in sorted(folder.glob(f"{name.replace('-', '_')}-{version}-*.whl")):
            if sha256_of(wheel) in digests:
                return wheel
            wheel.unlink()
        return None

    wheel = stored()
    if wheel:
        return wheel
    print(f"downloading {name} {version} from the Python package index", flush=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
               "--only-binary=:all:", "--require-hashes", "--dest", str(folder), *extra_options, "-r", str(requirements)]
    outcome = subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wheel = stored() if outcome.returncode == 0 else None
    if not wheel:
        lines = outcome.stderr.strip().splitlines()
        last = " | ".join([line for line in lines if "ERROR" in line][-2:] or lines[-2:]) or "no wheel with that digest came"
        raise FetchError(f"{name} {version}: the download failed ({last}); expected a wheel with sha256 "
                         f"{' or '.join(digests)}; check the network (or pip's index settings) and run the command again.")
    return wheel


@contextlib.contextmanager
def new_folder(final, complete):
    """Yields a fresh temporary folder beside `final`, which takes its place when the block ends without an error; yields None
    when complete(final) holds, so that nothing is left to do. A lock file makes a second process wait for the first one."""
    final = pathlib.Path(final)
    final.parent.mkdir(parents=True, exist_ok=True)
    if complete(final):
        yield None
        return
    with open(final.parent / f".{final.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if complete(final):
            yield None
            return
        # The lock is ours: whatever other runs left half-written has no owner any more.
        for stale in final.parent.glob(f".{final.name}.partial-*"):
            shutil.rmtree(stale, ignore_errors=True)
        partial = pathlib.Path(tempfile.mkdtemp(prefix=f".{final.name}.partial-", dir=final.parent))
        try:
            yield partial
            for path in [*partial.iterdir(), partial]:
                path.chmod(0o755 if path.is_dir() else 0o644)  # The temporary folder's and some writers' modes are private.
                handle = os.open(path, os.O_RDONLY)
                try:
                    os.fsync(handle)
                finally:
                    os.close(handle)
            if final.exists():
                final.rename(partial.with_name(partial.name + "-old"))
            partial.rename(final)
        finally:
            for stale in final.parent.glob(f".{final.name}.partial-*"):
                shutil.rmtree(stale, ignore_errors=True)


def run_main(main):
    """Runs main() and turns the errors that users can do something about into one line and exit code 3."""
    try:
        sys.exit(main())
    except FetchError as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        advice = "free some space" if error.errno == errno.ENOSPC else "check the folder and its permissions"
        print(f"error: {error.filename or 'system'}: {error.strerror}; expected to read and write below {cache_folder()}; "
              f"{advice} (SAGEPTQ_CACHE names another folder) and run the command again.", file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted; nothing half-written is left, run the command again to go on.", file=sys.stderr)
        sys.exit(130)
    sys.exit(3)
