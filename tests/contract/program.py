"""The installed program as a person starts it: one process for each command, and a home made by commands."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

PROGRAM = Path(sysconfig.get_path("scripts")) / "phase4-cli"
EVALUATOR = Path(__file__).with_name("evaluator.py")
FLAG = "truth-based-validation"
PLAN = f"{FLAG}.1"
CREATED = ("init", f"rollout create {FLAG}")
STARTED = (*CREATED, f"rollout start {PLAN}")
LIMIT_S = 60
"""Far above what any of these commands takes: a command that hangs fails its test, and does not hang the suite."""


class Answer:
    """What one command line printed and returned."""

    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err

    def __repr__(self):
        return f"exit {self.status}\n{self.out}{self.err}"

    @property
    def body(self):
        return json.loads(self.out)

    @property
    def data(self):
        return self.body["data"]

    @property
    def error(self):
        return self.body["error"]


def environment(home, **more):
    """Return an environment in which nothing but the home is set: no setting leaks in from outside."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(Path(home).parent),
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PHASE4_HOME": str(home),
        **more,
    }


def phase4(home, line, *, cwd=None, program=PROGRAM, **variables):
    """Run one command line, written as in a shell and without the program's name, in a process of its own."""
    words = [str(program), *shlex.split(line)]
    env = environment(home, **variables)
    done = subprocess.run(
        words,
        check=False,
        capture_output=True,
        encoding="utf-8",
        env=env,
        cwd=cwd,
        timeout=LIMIT_S,
        stdin=subprocess.DEVNULL,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def started(home, line, **variables):
    """Return the running process of a command line."""
    return subprocess.Popen(
        [str(PROGRAM), *shlex.split(line)],
        env=environment(home, **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        encoding="utf-8",
    )


def copied(source, target):
    """Copy a home that no process uses; its reserve of 8 MB is shared."""
    shutil.copytree(source, target, copy_function=_copy)
    return target


def _copy(source, target):
    if Path(source).name == "reserve.bin":
        os.link(source, target)
    else:
        shutil.copy2(source, target)


class Homes:
    """Homes that command lines made; each sequence of them is run once, and copied for whoever asks."""

    def __init__(self, folder):
        self._folder, self._made, self._count = Path(folder), {}, 0

    def after(self, *lines):
        """Return a home of one's own on which these command lines have run, each with exit status 0."""
        return copied(self._template(lines), self._new()) if lines else self._new()

    def shared(self, *lines):
        """Return the same for commands that only read: it is one home for all of them."""
        return self._template(lines)

    def _template(self, lines):
        if lines not in self._made:
            home = self.after(*lines[:-1])
            answer = phase4(home, lines[-1])
            assert answer.status == 0, answer
            self._made[lines] = home
        return self._made[lines]

    def _new(self):
        self._count += 1
        return self._folder / f"home-{self._count}"


class Evaluator:
    """An application that runs on while others switch: it says what it sees when it is asked."""

    def __init__(self, home):
        self._process = subprocess.Popen(
            [sys.executable, str(EVALUATOR)],
            env=environment(home),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        self.pid = self._process.pid

    def __enter__(self):
        """Wait until it has loaded the flags."""
        assert self.is_on(FLAG, "nobody") in {True, False}
        return self

    def __exit__(self, *_):
        """Let it end, and see that it did."""
        self._process.stdin.close()
        assert self._process.wait(LIMIT_S) == 0
        self._process.stdout.close()

    def is_on(self, flag, user):
        """Return what `is_feature_enabled` says there now."""
        return self._ask({"flag": flag, "users": [user]})[0]

    def exposed(self, flag, users=400):
        """Return which of so many users have a feature now."""
        names = [f"user-{number}" for number in range(users)]
        return {name for name, is_on in zip(names, self._ask({"flag": flag, "users": names}), strict=True) if is_on}

    def _ask(self, question):
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())
