#!/usr/bin/env python3
"""The course's one command: it makes its own set-up, then does what you ask.

    python course.py lab      open the course in JupyterLab
    python course.py test     run every test

`python course.py --help` names every verb. Nothing but Python is needed to start it. The first run
makes `.venv` beside this file and installs the course into it; nothing outside `.venv` is changed.

This file uses the standard library only, and no syntax newer than Python 3.7, so that an old Python
can still read it and say that it is too old. It is read from top to bottom: messages, what
pyproject.toml asks for, environments, set-up, verbs, command line.
"""

import argparse
import collections
import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
LOCK = ROOT / ".venv.lock"
WINDOWS = os.name == "nt"

OLDEST, NEWEST = (3, 11), (3, 14)  # the Pythons that the course is tested on
GB = 1e9
DOWNLOADS = "https://www.python.org/downloads/"
SELECTOR = "https://pytorch.org/get-started/locally/"

# Third-party packages whose compiled parts fail on a broken or half-copied install; each is imported once
# before a set-up counts as done. Only packages of the core: a learner may be in the middle of editing ours.
PROOF = "import torch, torchvision, numpy, matplotlib, sklearn, PIL, safetensors, anywidget"

# `jupyter trust`, without a script that would have to be on the PATH.
TRUST = "from nbformat.sign import TrustNotebookApp; TrustNotebookApp.launch_instance()"


# ---------------------------------------------------------------------------------------------------
# Messages: everything that can be expected to go wrong is said in words, with what to do about it.


class Problem(Exception):
    """Something expected went wrong: `what` happened, and `todo`, one remedy a line."""

    def __init__(self, what, *todo):
        super().__init__("\n".join(["Problem: " + what] + ["  - " + line for line in todo]))


def say(text: str) -> None:
    """Print a line now: what comes next may be another process writing to the same terminal."""
    print(text, flush=True)


def last_line(output: str) -> str:
    """The last line of what a program wrote, where it says why it failed."""
    return (output.strip() or "no reason given").splitlines()[-1]


def dotted(version) -> str:
    """(3, 11) -> '3.11'."""
    return ".".join(str(part) for part in version)


def python_problem(version, executable: str, bits: int, newer=()) -> "Problem | None":
    """Why this Python cannot run the course, or None. `newer` are commands of Pythons here that could."""
    download = f"install Python {dotted(NEWEST)}, 64-bit, from {DOWNLOADS}"
    if tuple(version[:2]) < OLDEST:
        remedy = f"a newer one is on this machine; use it: {newer[0]} course.py lab" if newer else download
        found = f"{executable} is Python {dotted(version[:3])}"
        return Problem(f"{found}, too old: the course needs {dotted(OLDEST)} or newer.", remedy)
    if bits < 64:
        return Problem(f"{executable} is a {bits}-bit Python, and PyTorch needs a 64-bit one.", download)
    return None


def newer_pythons() -> list:
    """Commands on this machine that start a Python the course can use, newest first."""
    minors = range(NEWEST[1], OLDEST[1] - 1, -1)
    commands = [["py", f"-3.{minor}"] for minor in minors] if WINDOWS else []
    commands += [[f"python3.{minor}"] for minor in minors]
    return [" ".join(command) for command in commands if shutil.which(command[0]) and probe(command)]


AGAIN = "then run the same command again: it carries on from here"
FRESH = "or start over: python course.py setup --fresh"
OWN = "leave out --here: the course then makes its own .venv"
MORE_ROOM = "free some space (`pip cache purge` empties pip's store of downloads), " + AGAIN
NO_BUILD = (
    "there is no build of a package for this Python ({python}) on this system ({system}).",
    "use Python {oldest} to {newest}: delete .venv, then run course.py with that Python",
    "on an Intel Mac or a musl system (Alpine), for which PyTorch has no current build, use Colab",
)

# What pip prints when it fails, what happened, what to do. The first pattern that is found counts, so the
# sure signs come first: a lost connection that pip recovered from also leaves its line in the output.
DISK_FULL = r"No space left|Errno 28\b|WinError 112|not enough space on the disk|Disk quota exceeded"
DIAGNOSES = [
    (DISK_FULL, "the disk is full, or your quota on it.", MORE_ROOM),
    (
        r"externally-managed-environment",
        "--here would install into the operating system's own Python, which does not allow it.",
        OWN,
        "or activate an environment of yours first",
    ),
    (
        r"Windows Long Path",
        "a path is too long for Windows.",
        "move the course to a short path such as C:\\ddpm-lite, " + AGAIN,
    ),
    (
        r"No module named pip",
        "this environment has no pip.",
        "install it (conda install pip, or python -m ensurepip), " + AGAIN,
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|SSLCertVerificationError|SSLError",
        "no secure connection to the package index: its certificate was not accepted.",
        "on a school's or company's network, get its root certificate and set PIP_CERT to that file",
        "check the date and time of this computer",
    ),
    (
        r"DO NOT MATCH THE HASHES|Hash mismatch|BadZipFile|has an invalid wheel",
        "a download arrived damaged.",
        "run `pip cache purge`, " + AGAIN,
    ),
    (r"from versions: (?!none)", *NO_BUILD),
    (
        r"NewConnectionError|Failed to establish a new connection|[Nn]ame resolution|getaddrinfo failed"
        r"|Name or service not known|nodename nor servname|Network is unreachable|ConnectTimeout"
        r"|ReadTimeout|Read timed out|ProxyError|ConnectionResetError|Connection broken|RemoteDisconnected"
        r"|IncompleteRead|Max retries exceeded",
        "the package index could not be reached: no network, or a proxy in between.",
        "connect to the internet, " + AGAIN,
        "behind a proxy, set HTTPS_PROXY=http://HOST:PORT first",
    ),
    (r"No matching distribution found", *NO_BUILD),
    (
        r"ResolutionImpossible|conflicting dependencies",
        "the packages that are here and those that the course needs exclude each other.",
        OWN,
        FRESH,
    ),
    (
        r"Permission denied|Access is denied|WinError 5\b|WinError 32\b",
        "a file could not be written: it is in use, or belongs to someone else.",
        "close JupyterLab and every notebook of the course, " + AGAIN,
        FRESH,
    ),
]


def diagnose(output: str, returncode: int) -> Problem:
    """What pip's output means for someone who has never read pip's output."""
    facts = {
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
        "oldest": dotted(OLDEST),
        "newest": dotted(NEWEST),
    }
    for pattern, *message in DIAGNOSES:
        if re.search(pattern, output):
            what, *todo = (line.format(**facts) for line in message)
            return Problem("the install broke off: " + what, *todo)
    if returncode in (-9, 137):
        return Problem("the install was killed; memory may have run out.", "close other programs, " + AGAIN)
    return Problem(
        f"the install broke off: pip ended with {returncode}, and its own words are above.",
        "run the same command again: it carries on from here",
        FRESH,
    )


# ---------------------------------------------------------------------------------------------------
# What pyproject.toml asks for.


def pyproject() -> dict:
    """The parsed pyproject.toml."""
    import tomllib  # Python 3.11; imported here so that an older one gets as far as its message

    try:
        return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Problem("pyproject.toml is missing beside course.py.", "get the whole course") from None


def normal(name: str) -> str:
    """A distribution's name as the standard compares them: 'Scikit_Learn' -> 'scikit-learn'."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirement_name(requirement: str) -> str:
    """'torch>=2.6' -> 'torch'."""
    return normal(re.match(r"[A-Za-z0-9._-]+", requirement).group())


def unfold(extras, project: dict) -> list:
    """These extras and those that they include, sorted: ['dev'] -> ['dev', 'lab']."""
    found, queue = set(), list(extras)
    while queue:
        extra = queue.pop()
        if extra in found:
            continue
        found.add(extra)
        for requirement in project["optional-dependencies"][extra]:
            if requirement_name(requirement) == project["name"]:
                queue += re.search(r"\[(.*)\]", requirement).group(1).replace(" ", "").split(",")
    return sorted(found)


def requirements(extras, project: dict) -> list:
    """The requirements of the core and of these extras, in the order of pyproject.toml, each once."""
    lists = [project["dependencies"]] + [project["optional-dependencies"][e] for e in unfold(extras, project)]
    flat = [requirement for one in lists for requirement in one]
    return list(dict.fromkeys(r for r in flat if requirement_name(r) != project["name"]))


NOTE = "# Written from pyproject.toml by `python course.py deps`; edit that, not this.\n"


def requirements_txt(project: dict) -> str:
    """requirements.txt: all that a learner needs, the course itself last."""
    lines = [*requirements(["lab"], project), "-e ."]
    return NOTE + "\n".join(lines) + "\n"


def environment_yml(project: dict) -> str:
    """environment.yml: the same for conda, from conda-forge, where PyTorch has another name."""
    conda_names = {"torch": "pytorch"}
    lines = []
    for requirement in requirements(["lab"], project):
        name = requirement_name(requirement)
        lines.append(conda_names.get(name, name) + requirement[len(name) :])
    lines = ["python" + project["requires-python"], "pip", *lines]
    listed = "".join(f'  - "{line}"\n' for line in lines)
    head = "name: {}\nchannels:\n  - conda-forge\ndependencies:\n".format(project["name"])
    return NOTE + head + listed + "  - pip:\n      - -e .\n"


# ---------------------------------------------------------------------------------------------------
# Environments: the course's own .venv, or with --here the one that this Python belongs to.


class Environment(NamedTuple):
    """A Python to install the course into."""

    python: str
    version: tuple  # (3, 11)
    prefix: Path
    sites: tuple  # folders where its packages lie
    own: bool  # the course's .venv, which the course may mend and make anew


def venv_python(prefix: Path) -> Path:
    """Where a virtual environment keeps its Python."""
    return prefix / ("Scripts/python.exe" if WINDOWS else "bin/python")


def own_environment(version) -> Environment:
    """The course's .venv, described for a Python of this version."""
    lib = "Lib/site-packages" if WINDOWS else f"lib/python{dotted(version)}/site-packages"
    return Environment(str(venv_python(VENV)), tuple(version), VENV, (VENV / lib,), True)


def this_environment() -> Environment:
    """The environment of the Python that runs this file."""
    sites = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *sys.path]
    folders = tuple(Path(site) for site in dict.fromkeys(sites) if site and Path(site).is_dir())
    return Environment(sys.executable, tuple(sys.version_info[:2]), Path(sys.prefix), folders, False)


def probe(command: list) -> "tuple | None":
    """(major, minor, has pip) of the Python that `command` starts, or None when it does not start one."""
    code = "import sys, importlib.util as u; print(*sys.version_info[:2], u.find_spec('pip') is not None)"
    try:
        done = subprocess.run(
            [*command, "-I", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60
        )
        major, minor, pip = done.stdout.decode().split()
        return int(major), int(minor), pip == "True"
    except (OSError, ValueError):
        return None
    except subprocess.TimeoutExpired:  # slow is not broken: nothing may be deleted for it
        raise Problem(
            f"{command[0]} did not start within a minute; this computer is very busy.",
            "wait or close other programs, then run the same command again",
        ) from None


def listen(command: list) -> tuple:
    """Run a short command; returns (exit code, all that it wrote)."""
    done = subprocess.run(
        command, cwd=str(ROOT), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace"
    )
    return done.returncode, done.stdout


def installed(env: Environment) -> set:
    """Names of the packages that lie whole in the environment.

    pip writes a package's RECORD last, so in our own .venv one without it is a package whose install was
    cut short. Elsewhere (conda, a system's Python) packages may rightly have none.
    """
    names = set()
    for site in env.sites:
        for info in list(site.glob("*.dist-info")) + list(site.glob("*.egg-info")):
            if not env.own or (info / "RECORD").is_file():
                names.add(normal(info.name.rsplit(".", 1)[0].split("-")[0]))
    return names


def scratch(env: Environment) -> Path:
    """Where pip unpacks for our own .venv: on the same disk, since /tmp is often small and in memory."""
    return env.prefix / "tmp"


def sweep(env: Environment) -> None:
    """Take the remains of a broken install out of our own .venv, so that pip sees what is really missing."""
    if not env.own:
        return
    remains = [scratch(env)]
    for site in env.sites:
        remains += [info for info in site.glob("*.dist-info") if not (info / "RECORD").is_file()]
        remains += site.glob("~*")  # what pip was in the middle of replacing
    for path in remains:
        shutil.rmtree(str(path), ignore_errors=True)


def looks_like_venv(folder: Path) -> bool:
    """Whether `folder` is a virtual environment, whole, half-made or empty: then it may be deleted."""
    parts = {"bin", "include", "lib", "lib64", "share", "etc", "tmp", "scripts", "pyvenv.cfg", ".gitignore"}
    if not folder.is_dir():
        return False
    return (folder / "pyvenv.cfg").is_file() or {path.name.lower() for path in folder.iterdir()} <= parts


def remove_venv() -> None:
    """Delete .venv, but only if that is what it is."""
    if VENV.is_symlink() or (VENV.exists() and not looks_like_venv(VENV)):
        raise Problem(
            f"{VENV} is in the way: it is no virtual environment of this course.",
            "move it somewhere else, then run the same command again",
        )
    try:
        if VENV.exists():
            shutil.rmtree(str(VENV))
    except OSError as error:
        raise Problem(
            f"{VENV} could not be deleted: {error}.",
            "close JupyterLab and every notebook, leave the environment (`deactivate`), then try again",
        ) from None


def venv_problem(output: str) -> Problem:
    """Why `python -m venv` failed."""
    if re.search(DISK_FULL, output):
        return Problem("the disk is full, or your quota on it.", MORE_ROOM)
    if re.search(r"ensurepip is not|No module named '?(venv|ensurepip)", output):
        return Problem(
            f"this Python ({sys.executable}) cannot make virtual environments: a part of it is missing.",
            f"on Debian and Ubuntu: sudo apt install python{dotted(sys.version_info[:2])}-venv",
            f"elsewhere: install Python from {DOWNLOADS}",
        )
    return Problem(
        f"{VENV} could not be made: {last_line(output)}",
        "see whether this folder may be written and the disk has room",
        "or make an environment of your own, activate it and add --here",
    )


def make_venv() -> None:
    """Make .venv anew, from the Python that runs this file."""
    remove_venv()
    say(f"-- making .venv with Python {platform.python_version()}")
    # The Python below any environment: this one may be running from inside the .venv that is replaced.
    base = getattr(sys, "_base_executable", None) or sys.executable
    returncode, output = listen([base, "-m", "venv", str(VENV)])
    if returncode != 0 or probe([str(venv_python(VENV))]) is None:
        raise venv_problem(output)


def find_venv() -> "Environment | None":
    """The course's .venv if its Python starts, is new enough and has pip; None if it is to be made anew."""
    python = str(venv_python(VENV))
    found = probe([python])
    if found and not found[2]:  # some tools leave pip out; what else they put in may have taken an hour
        listen([python, "-m", "ensurepip"])
        found = probe([python])
    if not found or not found[2] or found[:2] < OLDEST:
        return None
    return own_environment(found[:2])


# ---------------------------------------------------------------------------------------------------
# Set-up: done once, recognised by a stamp, mended when it is not whole.


def stamp_path(env: Environment) -> Path:
    """The stamp lies in the environment, so that it vanishes with it."""
    return env.prefix / "ddpm-lite-setup.json"


def stamp_key(env: Environment, config: dict) -> str:
    """A hash of all that makes a set-up out of date: what is asked for, which Python, and where."""
    facts = [config["project"], config["build-system"], dotted(env.version), str(ROOT)]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def read_stamp(env: Environment) -> dict:
    """The stamp, or an empty one when there is none that can be read."""
    try:
        stamp = json.loads(stamp_path(env).read_text(encoding="utf-8"))
        return {"key": str(stamp["key"]), "extras": [str(extra) for extra in stamp["extras"]]}
    except (OSError, ValueError, KeyError, TypeError):
        return {"key": "", "extras": []}


def write_stamp(env: Environment, key: str, extras: list) -> None:
    """Say that the set-up is whole. The file appears at once or not at all."""
    path = stamp_path(env)
    draft = path.with_suffix(".draft")
    # --here may be an environment that only an administrator can write: pip then looks again next time.
    with contextlib.suppress(OSError):
        draft.write_text(json.dumps({"key": key, "extras": sorted(extras)}), encoding="utf-8")
        os.replace(str(draft), str(path))


def is_current(env: Environment, extras, config: dict) -> bool:
    """Whether the environment was set up for these extras, from this pyproject.toml, and is still whole."""
    stamp, project = read_stamp(env), config["project"]
    if stamp["key"] != stamp_key(env, config) or not set(unfold(extras, project)) <= set(stamp["extras"]):
        return False
    # What is needed only on some systems (after a ';') is left to pip.
    needed = {requirement_name(r) for r in requirements(extras, project) if ";" not in r}
    return needed | {normal(project["name"])} <= installed(env)


def room_needed(system: str, has_torch: bool) -> float:
    """Bytes that a set-up takes while it works: what is downloaded and what is unpacked.

    On Linux the usual PyTorch brings the CUDA libraries: 3 GB of downloads, 6.5 GB in the end.
    """
    if has_torch:
        return 1.5 * GB
    return 10 * GB if system == "Linux" else 2 * GB


def room_problem(free: float, needed: float, where) -> "Problem | None":
    """What to say when the disk has less room than the set-up takes; None if it has enough."""
    if free >= needed:
        return None
    what = f"too little room: the set-up takes {needed / GB:.1f} GB, and {where} has {free / GB:.1f} GB free."
    smaller = "or take PyTorch's CPU build, a quarter of the size: README.md, 'Little room on the disk'"
    return Problem(what, MORE_ROOM, *[smaller] * (needed > 3 * GB), "or go on all the same: add --anyway")


def check_room(env: Environment, anyway: bool) -> bool:
    """Raise Problem if the disk is too full, before an hour of downloading shows it.

    Returns whether there is also room for pip to keep what it downloads for another time.
    """
    needed = room_needed(platform.system(), "torch" in installed(env))
    free = shutil.disk_usage(str(env.prefix)).free
    problem = room_problem(free, needed, env.prefix)
    if problem and not anyway:
        raise problem
    return free > 1.5 * needed


def pip_command(env: Environment, extras, keep=True) -> list:
    """The one pip call of a set-up. What is there and new enough (a CPU build of torch, say) is kept."""
    target = ".[{}]".format(",".join(sorted(extras))) if extras else "."
    options = ["--disable-pip-version-check", "--no-input", *["--no-cache-dir"] * (not keep)]
    return [env.python, "-m", "pip", "install", *options, "-e", target]


def pip_environ(env: Environment, environ) -> dict:
    """The surroundings for pip: in our own .venv, a user's habit of `pip install --user` must not apply."""
    child = {name: value for name, value in environ.items() if name != "PYTHONHOME"}
    if env.own:
        child.update(PIP_USER="0", PYTHONNOUSERSITE="1")
        if not WINDOWS:  # where a longer path would do more harm than a full disk
            child["TMPDIR"] = str(scratch(env))
    return child


def run_pip(command: list, environ: dict, lock=None) -> tuple:
    """Run pip with its progress on this terminal; returns (exit code, the end of what it wrote to stderr)."""
    # pip inherits the lock: if this program is killed, pip goes on, and the next run must wait for it.
    keep = {"pass_fds": (lock,)} if lock is not None and not WINDOWS else {}
    pipe = {"stderr": subprocess.PIPE, "text": True, "errors": "replace", "bufsize": 1}
    process = subprocess.Popen(command, cwd=str(ROOT), env=environ, **pipe, **keep)
    lines = collections.deque(maxlen=400)
    try:
        for line in process.stderr:
            sys.stderr.write(line)
            sys.stderr.flush()
            lines.append(line)
    finally:
        process.wait()  # after Ctrl-C, pip has had it too and is cleaning up
    return process.returncode, "".join(lines)


def prove(env: Environment) -> None:
    """Start what was installed once; raise Problem if a part of it does not start."""
    say("-- checking that PyTorch and the rest start")
    returncode, output = listen([env.python, "-c", PROOF])
    if returncode != 0:
        raise Problem(
            f"everything is installed, but does not start: {last_line(output)}",
            f"if torch and torchvision do not fit each other, install both as {SELECTOR} says",
            FRESH,
        )


def silence_news(env: Environment) -> None:
    """No pop-up about Jupyter's news and updates at a learner's first start (in our own .venv only)."""
    path = env.prefix / "etc" / "jupyter" / "labconfig" / "page_config.json"
    if env.own and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        off = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
        path.write_text(json.dumps(off, indent=2) + "\n", encoding="utf-8")


def trust_notebooks(env: Environment) -> None:
    """Tell Jupyter that the notebooks that came with the course may show their stored sliders before a run.

    At a set-up only, when they are as they came. Whatever is left untrusted shows a picture until it is run.
    """
    notebooks = sorted((ROOT / "notebooks").glob("**/[0-9][0-9]_*.ipynb"))
    if notebooks:
        listen([env.python, "-c", TRUST, *map(str, notebooks)])


def try_lock(descriptor: int) -> bool:
    """Take the lock on an open file; False while another process has it. It ends with its last holder."""
    try:
        if WINDOWS:
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def only_one():
    """Hold the set-up lock; yields its file descriptor. Two pips in one environment would ruin it."""
    try:
        descriptor = os.open(str(LOCK), os.O_RDWR | os.O_CREAT)
    except OSError:  # a read-only copy of the course, used with --here
        yield None
        return
    try:
        if not try_lock(descriptor):
            say("-- another set-up of the course is running here; waiting for it")
            while not try_lock(descriptor):
                time.sleep(0.5)
        yield descriptor
    finally:
        os.close(descriptor)


def install(env: Environment, extras, config: dict, lock=None, anyway=False) -> None:
    """Bring the environment up to date. Its stamp is there afterwards only if all of it worked."""
    known = config["project"]["optional-dependencies"]
    asked = {*unfold(extras, config["project"]), *read_stamp(env)["extras"]}
    wanted = sorted(asked.intersection(known))
    sweep(env)
    keep = check_room(env, anyway)
    with contextlib.suppress(OSError):
        stamp_path(env).unlink()
    if env.own:
        scratch(env).mkdir()
    say("-- installing " + ", ".join(["the course", *wanted]))
    returncode, output = run_pip(pip_command(env, wanted, keep), pip_environ(env, os.environ), lock)
    if returncode != 0:
        raise diagnose(output, returncode)
    prove(env)
    sweep(env)
    silence_news(env)
    if "lab" in unfold(wanted, config["project"]):
        trust_notebooks(env)
    write_stamp(env, stamp_key(env, config), wanted)


def mend(extras, config: dict, here=False, fresh=False, anyway=False) -> Environment:
    """Make, complete or mend an environment, one run at a time."""
    with only_one() as lock:
        if not here and (fresh or find_venv() is None):
            make_venv()
        env = this_environment() if here else find_venv()
        if not is_current(env, extras, config):  # else another run has done it while this one waited
            install(env, extras, config, lock, anyway)
    return env


def set_up(extras, here=False, fresh=False, anyway=False) -> Environment:
    """An environment with these extras: found, mended or made. Silent when there is nothing to do."""
    config = pyproject()
    env = this_environment() if here else find_venv()
    if env and not fresh and is_current(env, extras, config):
        return env
    started = time.time()
    say(f"== setting up the course in {sys.prefix if here else VENV}; the first time takes minutes")
    env = mend(extras, config, here, fresh, anyway)
    minutes, seconds = divmod(round(time.time() - started), 60)
    say(f"== ready after {minutes} min {seconds:02d} s")
    return env


# ---------------------------------------------------------------------------------------------------
# Verbs.


def child_environ(env: Environment, environ) -> dict:
    """The surroundings for JupyterLab, the tests and the tools."""
    child = {name: value for name, value in environ.items() if name != "PYTHONHOME"}
    # One thread, since a lesson runs beside a browser. A second one that waits actively saves a third of the time on
    # a quiet machine and takes half as long again, or twice as long, beside a busy program; one that sleeps when idle
    # has to be woken, and slows down small networks on any machine (benchmarks/RESULTS.md, "Threads").
    child.setdefault("OMP_NUM_THREADS", "1")
    child.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # for whoever wants more of them
    # This environment's own kernel, even if the user has registered another under the same name.
    child.setdefault("JUPYTER_PREFER_ENV_PATH", "1")
    child.setdefault("PYTHONUTF8", "1")  # Greek letters, whatever the code page of a Windows terminal
    folder = str(Path(env.python).parent)
    child["PATH"] = os.pathsep.join([folder] + ([child["PATH"]] if child.get("PATH") else []))
    if env.own:
        child["VIRTUAL_ENV"] = str(env.prefix)
    return child


def hand_over(command: list, environ: dict) -> int:
    """Let another program take this one's place: its exit code and its signals are then its own."""
    sys.stdout.flush()
    os.chdir(str(ROOT))
    if not WINDOWS:
        os.execve(command[0], command, environ)
    process = subprocess.Popen(command, env=environ)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the child gets Ctrl-C as well, and decides
    return process.wait()


def start(env: Environment, arguments: list) -> int:
    """Hand over to a program of the environment's Python."""
    return hand_over([env.python, *arguments], child_environ(env, os.environ))


def chapter(number: str) -> str:
    """The notebook of a chapter: '1' or '01' -> 'notebooks/01_forward_process.ipynb'."""
    folder = ROOT / "notebooks"
    found = sorted(folder.glob(f"{number:0>2}_*.ipynb")) if number.isdigit() else []
    if not found:
        there = ", ".join(sorted(path.name[:2] for path in folder.glob("[0-9][0-9]_*.ipynb"))) or "none"
        raise Problem(f"there is no notebook for chapter {number}.", "chapters that are here: " + there)
    return found[0].relative_to(ROOT).as_posix()


def lab(options) -> int:
    """Open the course in JupyterLab."""
    notebook = chapter(options.chapter)
    env = set_up(["lab"], options.here, anyway=options.anyway)
    say(f"== opening {notebook}; end JupyterLab with Ctrl-C here")
    # As the default address, and not as a file to open: so the whole course can be browsed and read, and the
    # address that is printed for a browser elsewhere leads to the chapter too.
    return start(env, ["-m", "jupyterlab", f"--LabApp.default_url=/lab/tree/{notebook}", *options.rest])


def test(options) -> int:
    """Run every test; what follows goes to pytest."""
    env = set_up(["dev"], options.here, anyway=options.anyway)
    return start(env, ["-m", "pytest", *(options.rest or side_by_side(os.cpu_count()))])


def side_by_side(cores) -> list:
    """pytest's options to run the whole suite in two processes, file by file: a file's tests share what is dear to start."""
    return ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"] if (cores or 1) > 1 else []


def build(options) -> int:
    """Build the notebooks from notebooks/src: some chapters, or all."""
    env = set_up(["dev"], options.here, anyway=options.anyway)
    tool = str(ROOT / "tools" / "notebooks.py")
    return start(env, [tool, *options.chapters, *["--check"] * options.check, *options.rest])


def progress(options) -> int:
    """Show which exercises you have solved; nothing is sent anywhere."""
    env = set_up(["lab"], options.here, anyway=options.anyway)
    return start(env, ["-m", "ddpm_lite.exercises.progress", *["--forget"] * options.forget])


def assignment(options) -> int:
    """Make nbgrader assignments of some chapters, or all (docs/INSTRUCTORS.md)."""
    env = set_up(["instructor"], options.here, anyway=options.anyway)
    given = ["--out", os.path.abspath(options.out)] if options.out else []  # start() changes the folder
    given += ["--points", options.points] if options.points else []
    given += ["--replace"] * options.replace + ["--key"] * options.key
    return start(env, ["-m", "tools.assignment", *options.chapters, *given, *options.rest])


def bench(options) -> int:
    """Measure the package beside its peers."""
    env = set_up(["bench"], options.here, anyway=options.anyway)
    return start(env, ["-m", "benchmarks", *options.rest])


def deps(options) -> int:
    """Write requirements.txt and environment.yml from pyproject.toml."""
    project, differ = pyproject()["project"], []
    for name, text in {
        "requirements.txt": requirements_txt(project),
        "environment.yml": environment_yml(project),
    }.items():
        path = ROOT / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            differ.append(name)
            if not options.check:
                path.write_bytes(text.encode())
    if differ and options.check:
        raise Problem(f"not as pyproject.toml says: {', '.join(differ)}.", "run: python course.py deps")
    say("written: " + ", ".join(differ) if differ else "requirements.txt and environment.yml are up to date")
    return 0


def setup(options) -> int:
    """Only set up, for the named extras (default: lab)."""
    known, extras = pyproject()["project"]["optional-dependencies"], options.extras or ["lab"]
    unknown = [extra for extra in extras if extra not in known and extra != "core"]
    if unknown:
        raise Problem(f"there is no set-up named {unknown[0]}.", "there are: " + ", ".join(["core", *known]))
    if options.fresh and options.here:
        raise Problem("--fresh makes .venv anew, and --here leaves .venv alone.", "give one of the two")
    extras = [extra for extra in extras if extra != "core"]
    env = set_up(extras, options.here, options.fresh, options.anyway)
    say(f"the course is set up: {env.python}")
    return 0


def doctor(options) -> int:
    """Say what there is: send this when asking for help."""
    config = pyproject()
    env = this_environment() if options.here else find_venv()
    stamp = read_stamp(env)["extras"] if env else []
    code = "import torch; print(torch.__version__, '| CUDA', torch.cuda.is_available())"
    facts = {
        "system": f"{platform.platform()} {platform.machine()}",
        "python": f"{platform.python_version()} ({sys.executable})",
        "course": f"{config['project']['version']} in {ROOT}",
        "environment": f"{env.prefix}, Python {dotted(env.version)}" if env else "none that works yet",
        "set up for": ", ".join(stamp) or "nothing yet",
        "whole": "yes" if env and is_current(env, stamp, config) else "no; the next run mends it",
        "torch": last_line(listen([env.python, "-c", code])[1]) if env else "none",
        "disk": f"{shutil.disk_usage(str(ROOT)).free / GB:.1f} GB free",
    }
    for name, fact in facts.items():
        say(f"{name:<12} {fact}")
    return 0


# ---------------------------------------------------------------------------------------------------
# Command line.

ABOUT = {
    "description": "The course's one command. Every verb first makes or mends the set-up that it needs.",
    "epilog": "Options after a -- go on to the program behind the verb: lab -- --no-browser --port 9999",
}


def flag(parser: argparse.ArgumentParser, name: str, text: str) -> None:
    """Add an option that is given or not."""
    parser.add_argument(name, action="store_true", help=text)


def parser() -> argparse.ArgumentParser:
    """The command line. --here and --anyway may stand before or after the verb."""
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    flag(common, "--here", "use the current environment (conda, Colab, a container), not .venv")
    flag(common, "--anyway", "set up even if the disk looks too full")
    top = argparse.ArgumentParser(prog="python course.py", parents=[common], allow_abbrev=False, **ABOUT)
    verbs = top.add_subparsers(dest="verb", metavar="VERB", title="verbs")

    def verb(function):
        about = {"help": function.__doc__, "description": function.__doc__}
        child = verbs.add_parser(function.__name__, parents=[common], allow_abbrev=False, **about)
        child.set_defaults(function=function)
        return child

    verb(lab).add_argument("chapter", nargs="?", default="00", metavar="NN", help="chapter (default: 00)")
    verb(test)
    builder = verb(build)
    builder.add_argument("chapters", nargs="*", metavar="NN", help="chapters (default: all)")
    flag(builder, "--check", "build nothing; fail where a notebook and its source disagree")
    flag(verb(progress), "--forget", "delete the record and begin anew")
    maker = verb(assignment)
    maker.add_argument("chapters", nargs="*", metavar="NN", help="chapters (default: all)")
    maker.add_argument("--out", metavar="DIR", help="nbgrader's course folder (default: assignments)")
    maker.add_argument("--points", metavar="P", help="such as 5,01.3=8,open=10: five each, eight for 01.3")
    flag(maker, "--replace", "release anew what has changed since its release")
    flag(maker, "--key", "print the answer key and make nothing")
    verb(bench)
    flag(verb(deps), "--check", "write nothing; fail where a file disagrees")
    maker = verb(setup)
    maker.add_argument("extras", nargs="*", metavar="EXTRA", help="core, lab, dev, instructor or bench")
    flag(maker, "--fresh", "delete .venv first")
    verb(doctor)
    return top


def parse(arguments: list) -> argparse.Namespace:
    """Options of the command line; `.rest` holds what goes on to the program behind the verb."""
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    top = parser()
    options, unknown = top.parse_known_args(arguments[:cut])
    if options.verb is None:
        top.print_help()
        raise SystemExit(0 if not arguments else 2)
    if unknown and options.verb not in ("test", "bench"):
        top.error(f"{options.verb} does not know {unknown[0]} (is a -- missing before it?)")
    options.rest = unknown + arguments[cut + 1 :]
    options.here = getattr(options, "here", False)
    options.anyway = getattr(options, "anyway", False)
    return options


def main(arguments: list) -> int:
    """Run one verb; returns the exit code."""
    try:
        newer = newer_pythons() if sys.version_info < OLDEST else []
        unfit = python_problem(sys.version_info, sys.executable, 64 if sys.maxsize > 2**32 else 32, newer)
        if unfit:
            raise unfit
        options = parse(arguments)
        return options.function(options)
    except Problem as problem:
        sys.stdout.flush()
        print(f"\n{problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. The same command carries on from here.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
