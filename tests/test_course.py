"""course.py: what it says, when it installs and when it does not, and that it mends what broke.

The machine is faked at three places only: `probe` (does this Python start?), `listen` (short commands) and
`run_pip`. All that lies between them, the files in `.venv` and the stamp, is real.
"""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import course

SOURCE = Path(course.__file__)
PROBE = course.probe  # the real one, where a test needs it
VERBS = {"lab", "test", "build", "progress", "assignment", "bench", "deps", "setup", "doctor"}
PYPROJECT = """\
[build-system]
requires = ["hatchling"]
[project]
name = "ddpm-lite"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["torch>=2.6", "scikit-learn>=1.5", "pywin32>=300; sys_platform == 'win32'"]
[project.optional-dependencies]
lab = ["jupyterlab>=4.2"]
dev = ["ddpm-lite[lab]", "pytest>=8"]
bench = ["ddpm-lite[dev]", "pyperf>=2"]
instructor = ["ddpm-lite[lab]", "nbgrader>=0.9"]
[tool.ruff]
line-length = 110
"""


class Machine:
    """A computer in a temporary folder: what it was told to run, and how that goes."""

    def __init__(self, root: Path):
        self.root = root
        self.venv = root / ".venv"
        self.version = (3, 11)  # of the Python in .venv
        self.has_pip = True
        self.starts = True  # does .venv's Python start?
        self.pip_breaks: tuple[int, str] | None = None  # (exit code, what it says)
        self.proof = (0, "")
        self.pip: list[list[str]] = []  # every pip install
        self.pip_environ: dict[str, str] = {}
        self.listened: list[list[str]] = []
        self.started: list[tuple[list[str], dict[str, str]]] = []  # what was handed over to
        (root / "pyproject.toml").write_text(PYPROJECT, encoding="utf-8")
        (root / "notebooks").mkdir()
        for name in ("00_start_here.ipynb", "01_forward_process.ipynb"):
            (root / "notebooks" / name).write_text("{}", encoding="utf-8")

    @property
    def site(self) -> Path:
        return course.own_environment(self.version).sites[0]

    @property
    def stamp(self) -> Path:
        return self.venv / "ddpm-lite-setup.json"

    def put(self, *names: str, whole: bool = True, site: Path | None = None) -> None:
        """Install packages: their metadata is all that course.py looks at."""
        for name in names:
            info = (site or self.site) / f"{name.replace('-', '_')}-1.0.dist-info"
            info.mkdir(parents=True, exist_ok=True)
            (info / "METADATA").touch()
            if whole:
                (info / "RECORD").touch()

    def probe(self, command):
        if command[0] != str(course.venv_python(self.venv)):
            return None
        there = Path(command[0]).exists() and self.starts
        return (*self.version, self.has_pip) if there else None

    def listen(self, command):
        self.listened.append(command)
        if command[1:3] == ["-m", "venv"]:
            self.starts, self.has_pip, self.version = True, True, (3, 11)
            python = course.venv_python(self.venv)
            python.parent.mkdir(parents=True)
            python.touch()
            (self.venv / "pyvenv.cfg").touch()
        if command[1:] == ["-c", course.PROOF]:
            return self.proof
        return 0, ""

    def run_pip(self, command, environ, lock=None):
        self.pip.append(command)
        self.pip_environ = environ
        assert not self.stamp.exists(), "a stamp that stands during an install would outlive a power cut"
        if self.pip_breaks:
            self.put("torch", whole=False)
            return self.pip_breaks
        extras = command[-1].strip(".[]").split(",") if "[" in command[-1] else []
        config = course.pyproject()["project"]
        here = [r for r in course.requirements(extras, config) if ";" not in r]
        self.put("ddpm-lite", *map(course.requirement_name, here))
        return 0, ""

    def hand_over(self, command, environ):
        self.started.append((command, environ))
        return 0


TOGETHER = course.side_by_side(os.cpu_count())  # for the whole suite, where nothing else is asked for


@pytest.fixture
def machine(tmp_path, monkeypatch) -> Machine:
    monkeypatch.setattr(course, "ROOT", tmp_path)
    monkeypatch.setattr(course, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(course, "LOCK", tmp_path / ".venv.lock")
    made = Machine(tmp_path)
    for name in ("probe", "listen", "run_pip", "hand_over"):
        monkeypatch.setattr(course, name, getattr(made, name))
    monkeypatch.setattr(course, "room_needed", lambda system, has_torch: 0)
    return made


# --- An old Python, and the command line.


def test_the_file_can_be_read_by_python_3_7():
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"), feature_version=(3, 7))
    at_the_top = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    at_the_top |= {str(node.module) for node in tree.body if isinstance(node, ast.ImportFrom)}
    assert at_the_top <= set(sys.stdlib_module_names)
    assert at_the_top.isdisjoint({"tomllib", "zoneinfo", "graphlib"}), "these came after Python 3.7"


@pytest.mark.parametrize(
    ("version", "bits", "newer", "says"),
    [
        ((3, 7, 9), 64, [], ["old/python is Python 3.7.9", "3.11 or newer", "python.org"]),
        ((3, 10, 14), 64, ["python3.13", "python3.12"], ["3.10.14", "use it: python3.13 course.py lab"]),
        ((3, 12, 1), 32, [], ["32-bit", "64-bit", "python.org"]),
    ],
)
def test_a_python_that_cannot_run_the_course_is_told_so(version, bits, newer, says):
    message = str(course.python_problem(version, "/old/python", bits, newer))
    for part in says:
        assert part in message


@pytest.mark.parametrize("version", [(3, 11, 0), (3, 14, 2), (3, 15, 0)])
def test_a_python_that_can_is_not(version):
    assert course.python_problem(version, "python", 64) is None


def run_as(version: str, *arguments: str) -> subprocess.CompletedProcess:
    """Run course.py in a Python that believes it is another version."""
    code = (
        f"import runpy, sys; sys.version_info = {version}; sys.argv = ['course.py', *{arguments!r}]; "
        f"runpy.run_path({str(SOURCE)!r}, run_name='__main__')"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("arguments", [["lab"], ["--help"], ["nonsense"]])
def test_too_old_is_said_before_anything_else(arguments):
    done = run_as("(3, 9, 2)", *arguments)
    assert done.returncode == 1
    assert "Problem: " in done.stderr
    assert "3.9.2" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_names_every_verb():
    done = subprocess.run([sys.executable, str(SOURCE), "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    listed = {
        line.split()[0] for line in done.stdout.splitlines() if line.startswith("    ") and line.split()
    }
    assert listed >= VERBS
    assert "--here" in done.stdout


def test_the_readme_and_the_tests_know_the_same_verbs():
    choices = next(action.choices for action in course.parser()._actions if action.dest == "verb")
    assert set(choices) == VERBS
    readme = (SOURCE.parent / "README.md").read_text(encoding="utf-8")
    assert "python course.py lab" in readme
    assert "python course.py test" in readme


@pytest.mark.parametrize("arguments", [["nonsense"], ["lab", "--port", "9"], ["setup", "--frsh"]])
def test_a_mistyped_command_line_ends_with_2_and_runs_nothing(machine, arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        course.main(arguments)
    assert machine.pip == machine.started == []
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["--here", "test", "-x"], ["test", "--here", "-x"], ["test", "-x", "--here"]]
)
def test_here_may_stand_anywhere(arguments):
    options = course.parse(arguments)
    assert options.here
    assert options.rest == ["-x"]


# --- A set-up, from nothing.


def test_a_first_run_makes_the_venv_installs_and_stamps(machine):
    env = course.set_up(["lab"])
    assert env.python == str(course.venv_python(machine.venv))
    assert machine.listened[0][1:] == ["-m", "venv", str(machine.venv)]
    assert [command[-2:] for command in machine.pip] == [["-e", ".[lab]"]]
    assert machine.pip[0][:3] == [env.python, "-m", "pip"]
    assert [env.python, "-c", course.PROOF] in machine.listened
    assert machine.stamp.is_file()
    assert not course.scratch(env).exists()


def test_a_second_run_starts_nothing_but_the_program(machine):
    course.set_up(["lab"])
    machine.pip.clear()
    machine.listened.clear()
    assert course.main(["lab"]) == 0
    assert machine.pip == []
    assert machine.listened == []
    assert len(machine.started) == 1


def test_more_extras_are_added_and_fewer_are_not_taken_away(machine):
    course.set_up(["lab"])
    course.set_up(["dev"])
    course.set_up(["lab"])
    assert [command[-1] for command in machine.pip] == [".[lab]", ".[dev,lab]"]


def test_pip_does_not_go_to_the_user_folder_nor_fill_tmp(machine, monkeypatch):
    monkeypatch.setenv("PIP_USER", "1")
    monkeypatch.setenv("PYTHONHOME", "/elsewhere")
    course.set_up(["lab"])
    assert machine.pip_environ["PIP_USER"] == "0"
    assert "PYTHONHOME" not in machine.pip_environ
    if not course.WINDOWS:
        assert Path(machine.pip_environ["TMPDIR"]).parent == machine.venv


def test_no_pop_up_about_news_and_a_learner_s_own_setting_stays(machine):
    course.set_up(["lab"])
    setting = machine.venv / "etc/jupyter/labconfig/page_config.json"
    assert "announcements" in setting.read_text(encoding="utf-8")
    setting.write_text("{}", encoding="utf-8")
    course.silence_news(course.find_venv())
    assert setting.read_text(encoding="utf-8") == "{}"


def test_the_notebooks_that_came_with_the_course_are_trusted_at_a_set_up_only(machine):
    env = course.set_up(["lab"])
    trusting = [command for command in machine.listened if course.TRUST in command]
    assert [[Path(name).name for name in command[3:]] for command in trusting] == [
        ["00_start_here.ipynb", "01_forward_process.ipynb"]
    ]
    assert trusting[0][0] == env.python
    machine.listened.clear()
    course.set_up(["lab"])
    assert machine.listened == []


# --- What makes a set-up out of date, and what does not.


def change(machine: Machine, old: str, new: str) -> None:
    path = machine.root / "pyproject.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new", "installs"),
    [
        ("torch>=2.6", "torch>=2.7", 2),
        ('lab = ["jupyterlab>=4.2"]', 'lab = ["jupyterlab>=4.2", "ipykernel>=6"]', 2),
        ('requires = ["hatchling"]', 'requires = ["hatchling>=1"]', 2),
        ("line-length = 110", "line-length = 100", 1),
        ("\n", "\n\n", 1),
    ],
)
def test_only_what_pip_reads_in_pyproject_makes_it_stale(machine, old, new, installs):
    course.set_up(["lab"])
    change(machine, old, new)
    course.set_up(["lab"])
    assert len(machine.pip) == installs


def test_an_update_keeps_the_extras_of_before(machine):
    """A developer who opens JupyterLab after an update keeps the tools for the tests."""
    course.set_up(["dev"])
    change(machine, "torch>=2.6", "torch>=2.7")
    course.set_up(["lab"])
    assert machine.pip[-1][-1] == ".[dev,lab]"


def test_a_python_upgraded_in_place_makes_it_stale(machine):
    config, env = course.pyproject(), course.own_environment((3, 11))
    assert course.stamp_key(env, config) != course.stamp_key(env._replace(version=(3, 12)), config)


def test_another_python_in_the_venv_makes_it_stale(machine):
    course.set_up(["lab"])
    machine.version = (3, 12)
    course.set_up(["lab"])
    assert len(machine.pip) == 2


def test_a_moved_course_makes_it_stale(machine, monkeypatch):
    env = course.set_up(["lab"])
    config = course.pyproject()
    assert course.is_current(env, ["lab"], config)
    monkeypatch.setattr(course, "ROOT", machine.root / "elsewhere")
    assert not course.is_current(env, ["lab"], config)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"key": 1}', '{"key": "x", "extras": 3}', "\x00\xff"])
def test_a_stamp_that_cannot_be_read_is_no_stamp(machine, text):
    course.set_up(["lab"])
    machine.stamp.write_text(text, encoding="utf-8")
    course.set_up(["lab"])
    assert len(machine.pip) == 2


# --- What broke is mended by the next run.


def test_an_install_that_broke_half_way_is_mended_by_the_next_run(machine, capsys):
    machine.pip_breaks = (1, "OSError: [Errno 28] No space left on device")
    assert course.main(["lab"]) == 1
    assert "the disk is full" in capsys.readouterr().err
    assert not machine.stamp.exists()
    assert machine.started == []
    machine.pip_breaks = None
    assert course.main(["lab"]) == 0
    assert len(machine.pip) == 2
    assert sum(command[1:3] == ["-m", "venv"] for command in machine.listened) == 1  # what is whole is kept
    assert len(machine.started) == 1


def test_a_broken_upgrade_leaves_no_stamp_of_before(machine):
    course.set_up(["lab"])
    machine.pip_breaks = (-9, "")
    with pytest.raises(course.Problem):
        course.set_up(["dev"])
    machine.pip_breaks = None
    course.set_up(["lab"])
    assert len(machine.pip) == 3


def test_remains_of_a_killed_pip_are_swept(machine, monkeypatch):
    env = course.set_up(["lab"])
    machine.put("torch", whole=False)
    (machine.site / "torch-1.0.dist-info" / "RECORD").unlink()
    (machine.site / "~orch").mkdir()
    course.scratch(env).mkdir()
    seen: list[str] = []

    def run_pip(*args):
        seen.extend(path.name for path in machine.site.iterdir())
        return machine.run_pip(*args)

    monkeypatch.setattr(course, "run_pip", run_pip)
    course.set_up(["lab"])
    assert len(machine.pip) == 2
    assert "torch-1.0.dist-info" not in seen, "pip would take the half-installed torch for installed"
    assert "~orch" not in seen
    assert "scikit_learn-1.0.dist-info" in seen
    assert not course.scratch(env).exists()


def test_a_package_that_was_removed_by_hand_comes_back(machine):
    course.set_up(["lab"])
    (machine.site / "scikit_learn-1.0.dist-info" / "RECORD").unlink()
    course.set_up(["lab"])
    assert len(machine.pip) == 2


def test_what_does_not_start_is_not_stamped(machine):
    machine.proof = (1, "Traceback ...\nImportError: DLL load failed\n")
    with pytest.raises(course.Problem, match="ImportError: DLL load failed") as caught:
        course.set_up(["lab"])
    assert "--fresh" in str(caught.value)
    assert not machine.stamp.exists()


@pytest.mark.parametrize("broken", [{"starts": False}, {"version": (3, 9)}])
def test_a_venv_whose_python_is_gone_or_too_old_is_made_anew(machine, broken):
    course.set_up(["lab"])
    old = machine.venv / "old"
    old.touch()
    for name, value in broken.items():
        setattr(machine, name, value)
    course.set_up(["lab"])
    assert not old.exists()
    assert len(machine.pip) == 2
    assert course.is_current(course.find_venv(), ["lab"], course.pyproject())


def test_a_python_that_is_slow_to_start_is_not_taken_for_broken(machine, monkeypatch, capsys):
    course.set_up(["lab"])

    def slow(command, **options):
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(course, "probe", PROBE)
    monkeypatch.setattr(course.subprocess, "run", slow)
    assert course.main(["lab"]) == 1
    assert "busy" in capsys.readouterr().err
    assert machine.stamp.is_file()


def test_a_venv_without_pip_gets_one_before_it_is_given_up(machine):
    course.set_up(["lab"])
    machine.has_pip = False
    course.find_venv()
    assert machine.listened[-1][1:] == ["-m", "ensurepip"]


def test_fresh_makes_it_anew(machine):
    course.set_up(["lab"])
    (machine.venv / "old").touch()
    assert course.main(["setup", "--fresh"]) == 0
    assert not (machine.venv / "old").exists()
    assert len(machine.pip) == 2


def test_a_folder_that_is_no_environment_is_never_deleted(machine, capsys):
    machine.venv.mkdir()
    thesis = machine.venv / "thesis.txt"
    thesis.write_text("two years of work", encoding="utf-8")
    assert course.main(["setup", "--fresh"]) == 1
    assert "in the way" in capsys.readouterr().err
    assert thesis.read_text(encoding="utf-8") == "two years of work"


def test_a_half_made_environment_is_deleted(machine):
    (machine.venv / "bin").mkdir(parents=True)
    (machine.venv / "lib").mkdir()
    course.set_up(["lab"])
    assert machine.stamp.is_file()


def test_a_real_environment_is_made_recognised_and_given_up(tmp_path, monkeypatch):
    """No fakes: `python -m venv`, then a look at it, then the same with its Python gone."""
    monkeypatch.setattr(course, "ROOT", tmp_path)
    monkeypatch.setattr(course, "VENV", tmp_path / "a folder with spaces" / ".venv")
    course.VENV.parent.mkdir()
    course.make_venv()
    env = course.find_venv()
    assert env == course.own_environment(sys.version_info[:2])
    assert env.sites[0].is_dir()
    assert "pip" in course.installed(env)
    course.venv_python(course.VENV).unlink()
    assert course.find_venv() is None
    course.remove_venv()
    assert not course.VENV.exists()


# --- --here: an environment that is not ours.


@pytest.fixture
def conda(machine, monkeypatch) -> course.Environment:
    """An environment of the user's, where torch came from conda, which writes no RECORD."""
    prefix = machine.root / "conda"
    site = prefix / "site-packages"
    env = course.Environment(sys.executable, (3, 12), prefix, (site,), False)
    machine.put("torch", whole=False, site=site)
    (site / "~leftover").mkdir()
    monkeypatch.setattr(course, "this_environment", lambda: env)
    monkeypatch.setattr(type(machine), "site", site)
    return env


def test_here_installs_into_the_current_environment_once(machine, conda):
    for _ in range(2):
        assert course.main(["setup", "core", "--here"]) == 0
    assert [command[-1] for command in machine.pip] == ["."]
    assert machine.pip[0][0] == sys.executable
    assert not machine.venv.exists()


def test_here_takes_nothing_away_from_the_user(machine, conda):
    course.set_up(["lab"], here=True)
    assert (conda.sites[0] / "~leftover").is_dir()
    assert not (conda.prefix / "etc").exists()
    assert "PIP_USER" not in machine.pip_environ or machine.pip_environ["PIP_USER"] == os.environ["PIP_USER"]


def test_here_runs_programs_with_the_current_python(machine, conda):
    assert course.main(["test", "--here"]) == 0
    command, environ = machine.started[0]
    assert command == [sys.executable, "-m", "pytest", *TOGETHER]
    assert environ.get("VIRTUAL_ENV") == os.environ.get("VIRTUAL_ENV")


def test_fresh_and_here_exclude_each_other(machine, conda, capsys):
    assert course.main(["setup", "--fresh", "--here"]) == 1
    assert "give one of the two" in capsys.readouterr().err
    assert machine.pip == []


def test_this_environment_is_the_one_that_runs_the_tests():
    env = course.this_environment()
    assert env.python == sys.executable
    assert not env.own
    assert {"pytest", "torch", "scikit-learn"} <= course.installed(env)


# --- What went wrong, in words. The outputs are pip's own, shortened.

NO_NETWORK = """
WARNING: Retrying (Retry(total=0, connect=None, read=None)) after connection broken by
'NewConnectionError('<pip._vendor.urllib3.connection.HTTPSConnection object at 0x7f>: Failed to establish
a new connection: [Errno -3] Temporary failure in name resolution')': /simple/hatchling/
ERROR: Could not find a version that satisfies the requirement hatchling>=1.26 (from versions: none)
ERROR: No matching distribution found for hatchling>=1.26
"""
RECOVERED = (
    "WARNING: Retrying (Retry(total=4)) after connection broken by 'ReadTimeoutError(\"Read timed out.\")'\n"
)
DISK = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n"
TOO_NEW = "ERROR: Could not find a version that satisfies the requirement torch>=2.6 (from versions: none)\n"
NO_MATCH = "ERROR: No matching distribution found for torch>=2.6\n"
INTEL_MAC = TOO_NEW.replace("none", "2.2.0, 2.2.1, 2.2.2") + NO_MATCH


@pytest.mark.parametrize(
    ("output", "what", "remedy"),
    [
        (NO_NETWORK, "could not be reached", "connect to the internet"),
        (
            "pip._vendor.urllib3.exceptions.ReadTimeoutError: Read timed out.",
            "could not be reached",
            "internet",
        ),
        ("ProxyError('Cannot connect to proxy.', ...)", "could not be reached", "HTTPS_PROXY"),
        ("[Errno 11001] getaddrinfo failed", "could not be reached", "internet"),
        (DISK, "disk is full", "free some space"),
        ("OSError: [Errno 122] Disk quota exceeded", "quota", "free some space"),
        ("OSError: [WinError 112] There is not enough space on the disk", "disk is full", "free some space"),
        (RECOVERED + DISK, "disk is full", "free some space"),
        (RECOVERED + INTEL_MAC, "no build", "Intel Mac"),
        (TOO_NEW + NO_MATCH, "no build", "use Python 3.11 to 3.14"),
        ("SSLError(SSLCertVerificationError(1, 'CERTIFICATE_VERIFY_FAILED'))", "certificate", "PIP_CERT"),
        (
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE",
            "damaged",
            "cache purge",
        ),
        ("error: externally-managed-environment", "operating system", "leave out --here"),
        ("HINT: ... Windows Long Path support enabled", "too long", "short path"),
        ("/opt/conda/bin/python: No module named pip", "no pip", "ensurepip"),
        ("ERROR: ResolutionImpossible: for help visit", "exclude each other", "leave out --here"),
        ("PermissionError: [WinError 5] Access is denied: 'torch_cpu.dll'", "in use", "close JupyterLab"),
        ("something never seen before", "pip ended with 2", "setup --fresh"),
    ],
)
def test_pip_s_failures_are_explained(output, what, remedy):
    message = str(course.diagnose(output, 2))
    assert what in message.splitlines()[0]
    assert any(remedy in line for line in message.splitlines()[1:])
    assert "{" not in message


def test_a_killed_install_is_told_from_a_failed_one():
    assert "memory" in str(course.diagnose("", -9))


@pytest.mark.parametrize(
    ("output", "what"),
    [
        (
            "... ensurepip is not\navailable. On Debian/Ubuntu systems, you need to install python3-venv",
            "python3.1",
        ),
        ("/usr/bin/python3: No module named venv", "-venv"),
        ("Error: [Errno 28] No space left on device", "free some space"),
        ("Error: [Errno 13] Permission denied: '.venv'", "Permission denied"),
        ("", "no reason given"),
    ],
)
def test_an_environment_that_cannot_be_made_is_explained(output, what):
    assert what in str(course.venv_problem(output))


def test_too_little_room_is_said_before_the_download(machine, monkeypatch, capsys):
    monkeypatch.setattr(course, "room_needed", lambda system, has_torch: 1e18)
    assert course.main(["lab"]) == 1
    assert "too little room" in capsys.readouterr().err
    assert machine.pip == []
    assert course.main(["lab", "--anyway"]) == 0
    assert "--no-cache-dir" in machine.pip[0], "on a full disk pip must not keep its downloads too"


def test_room_counts_cuda_on_linux_and_a_torch_that_is_there():
    assert course.room_needed("Linux", False) > 3 * course.room_needed("Darwin", False)
    assert course.room_needed("Linux", True) < 2 * course.GB
    assert course.room_problem(free=11e9, needed=10e9, where="x") is None
    message = str(course.room_problem(free=2e9, needed=10e9, where="/home/me/.venv"))
    assert "2.0 GB free" in message
    assert "10.0 GB" in message
    assert "CPU build" in message
    assert "CPU build" not in str(course.room_problem(free=1e9, needed=1.5e9, where="x"))


def test_the_heading_that_messages_send_the_reader_to_exists():
    readme = (SOURCE.parent / "README.md").read_text(encoding="utf-8")
    assert "Little room on the disk" in readme
    assert "Colab" in readme


def test_ctrl_c_is_no_traceback(machine, monkeypatch, capsys):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(course, "run_pip", interrupted)
    assert course.main(["lab"]) == 130
    assert "carries on" in capsys.readouterr().err
    assert not machine.stamp.exists()


def test_without_pyproject_it_says_so(machine, capsys):
    (machine.root / "pyproject.toml").unlink()
    assert course.main(["setup"]) == 1
    assert "pyproject.toml is missing" in capsys.readouterr().err


# --- Processes.


def test_pip_s_words_are_shown_and_kept(monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(course, "ROOT", tmp_path)
    code = "import sys; print('progress'); print('ERROR: no luck', file=sys.stderr); sys.exit(3)"
    returncode, output = course.run_pip([sys.executable, "-c", code], dict(os.environ))
    assert returncode == 3
    assert output == "ERROR: no luck\n"
    shown = capfd.readouterr()
    assert shown.out.strip() == "progress"
    assert shown.err.strip() == "ERROR: no luck"


@pytest.mark.parametrize("windows", [course.WINDOWS, True])
def test_a_program_s_exit_code_is_the_verb_s(windows):
    """On Windows, which cannot replace a process, this one waits for the other; that way works anywhere."""
    child = [sys.executable, "-c", "exit(7)"]
    code = (
        f"import course, os, sys; course.WINDOWS = {windows}; "
        f"sys.exit(course.hand_over({child!r}, dict(os.environ)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=SOURCE.parent, timeout=60)
    assert done.returncode == 7


def test_only_one_set_up_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(course, "LOCK", tmp_path / "lock")
    second = os.open(str(tmp_path / "lock"), os.O_RDWR | os.O_CREAT)
    try:
        with course.only_one() as first:
            assert first is not None
            assert not course.try_lock(second)
        assert course.try_lock(second)
    finally:
        os.close(second)


def test_a_run_that_waited_finds_the_work_done(machine, monkeypatch):
    """Another run finishes while this one waits for the lock: then nothing is installed twice."""
    real, first = course.is_current, []

    def late(env, extras, config):
        if not first:
            first.append(True)
            course.install(env, extras, config)
            return False
        return real(env, extras, config)

    course.make_venv()
    monkeypatch.setattr(course, "is_current", late)
    course.set_up(["lab"])
    assert len(machine.pip) == 1


def test_what_the_programs_find_around_them(machine):
    env = course.own_environment((3, 11))
    child = course.child_environ(env, {"PATH": "/usr/bin", "PYTHONHOME": "/x", "LANG": "C"})
    assert (child["OMP_NUM_THREADS"], child["OMP_WAIT_POLICY"]) == ("1", "PASSIVE")
    assert child["JUPYTER_PREFER_ENV_PATH"] == "1"
    assert child["VIRTUAL_ENV"] == str(machine.venv)
    assert child["PATH"].split(os.pathsep) == [str(Path(env.python).parent), "/usr/bin"]
    assert child["LANG"] == "C"
    assert "PYTHONHOME" not in child
    wish = {"OMP_NUM_THREADS": "4", "OMP_WAIT_POLICY": "ACTIVE"}
    assert wish.items() <= course.child_environ(env, wish).items()


# --- Verbs.


@pytest.mark.parametrize(("cores", "workers"), [(None, None), (1, None), (2, "2"), (64, "2")])
def test_the_whole_suite_runs_in_two_processes_where_there_are_two_cores(cores, workers):
    options = course.side_by_side(cores)
    assert options[:2] == (["-n", workers] if workers else [])


LAB = ["-m", "jupyterlab", "--LabApp.default_url=/lab/tree/notebooks/"]


@pytest.mark.parametrize(
    ("arguments", "extras", "command"),
    [
        (["lab"], "lab", [*LAB[:2], LAB[2] + "00_start_here.ipynb"]),
        (["lab", "1"], "lab", [*LAB[:2], LAB[2] + "01_forward_process.ipynb"]),
        (["lab", "--", "--port", "9"], "lab", [*LAB[:2], LAB[2] + "00_start_here.ipynb", "--port", "9"]),
        (["test"], "dev,lab", ["-m", "pytest", *TOGETHER]),
        (
            ["test", "tests/test_x.py", "-k", "a b"],
            "dev,lab",
            ["-m", "pytest", "tests/test_x.py", "-k", "a b"],
        ),
        (["test", "-x", "--", "--help"], "dev,lab", ["-m", "pytest", "-x", "--help"]),
        (["build"], "dev,lab", ["tools/notebooks.py"]),
        (["build", "00", "01", "--check"], "dev,lab", ["tools/notebooks.py", "00", "01", "--check"]),
        (["bench", "--quick"], "bench,dev,lab", ["-m", "benchmarks", "--quick"]),
        (["assignment"], "instructor,lab", ["-m", "tools.assignment"]),
        (
            ["assignment", "01", "--points", "5,open=8", "--replace"],
            "instructor,lab",
            ["-m", "tools.assignment", "01", "--points", "5,open=8", "--replace"],
        ),
    ],
)
def test_verbs_set_up_what_they_need_and_start_it(machine, arguments, extras, command):
    assert course.main(arguments) == 0
    assert machine.pip[0][-1] == f".[{extras}]"
    started = [
        part.replace(str(machine.root) + os.sep, "").replace(os.sep, "/") for part in machine.started[0][0]
    ]
    assert started[1:] == command
    assert machine.started[0][0][0] == str(course.venv_python(machine.venv))


def test_a_folder_for_assignments_is_the_user_s_and_not_the_course_s(machine, monkeypatch):
    """The tool runs in the course's folder, so a relative path must be made absolute before."""
    elsewhere = machine.root / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert course.main(["assignment", "00", "--out", "cs101"]) == 0
    assert machine.started[0][0][-2:] == ["--out", str(elsewhere / "cs101")]


@pytest.mark.parametrize("chapter", ["07", "1x", "../00"])
def test_a_chapter_that_is_not_there(machine, chapter, capsys):
    assert course.main(["lab", chapter]) == 1
    assert "chapters that are here: 00, 01" in capsys.readouterr().err
    assert machine.pip == [], "a mistyped number must not cost a set-up"


def test_setup_refuses_an_extra_that_does_not_exist(machine, capsys):
    assert course.main(["setup", "gpu"]) == 1
    assert "core, lab, dev, bench" in capsys.readouterr().err


@pytest.mark.parametrize("done", [False, True])
def test_doctor_says_whether_the_set_up_is_whole(machine, done, capsys):
    if done:
        course.set_up(["lab"])
    capsys.readouterr()
    assert course.main(["doctor"]) == 0
    report = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    assert report["whole"].startswith("yes" if done else "no")
    assert report["python"].startswith(sys.version.split()[0])
    assert len(machine.pip) == int(done), "doctor only looks"
