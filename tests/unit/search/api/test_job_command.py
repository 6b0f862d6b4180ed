"""What the shell of a job makes of a command."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from lstm_sweep.search.api.job_command import command_of, exported


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_the_shell_keeps_the_files_and_hands_on_nothing_but_the_name(
    tmp_path: Path, shell: str
) -> None:
    job, programs = tmp_path / "job", tmp_path / "bin"
    for folder in (job / "data", programs):
        folder.mkdir(parents=True)
    (job / "data" / "x").write_text("content")
    program = programs / "lstm-sweep"
    program.write_text(
        "#!/bin/sh\npwd -P\nenv | grep LSTM_SWEEP_; "
        'printf "%s\\n" "$PASSWORD" $$ "$RAY_JOB_CONFIG_JSON_ENV_VAR" "$@"\n'
    )
    program.chmod(0o755)
    command = command_of(["launch", "--name=a b", "--set=x='1'"], "job-1", "d1")
    password = "a $HOME${X}'\"\\\\`ü`"
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    environment |= {"LSTM_SWEEP_EXPORTS": exported({"PASSWORD": password})}
    for _ in range(2):  # the second time the files are there
        process = subprocess.Popen(
            [shell, "-c", command], cwd=job, env=environment, stdout=subprocess.PIPE, text=True
        )
        first, *lines = process.communicate()[0].splitlines()
        assert first == "job-1 begins"
        kept = tmp_path / ".cache" / "lstm-sweep" / "uploads" / "d1"
        assert lines[0] == str(kept.resolve())
        assert lines[1] == password
        assert lines[2] == str(process.pid)  # there is no shell beside it
        assert json.loads(lines[3]) == {"metadata": {"job_submission_id": "job-1"}}
        assert lines[4:] == ["launch", "--name=a b", "--set=x='1'"]
        assert [path.name for path in kept.parent.iterdir()] == ["d1"]
    assert (kept / "data" / "x").read_text() == "content"
    assert kept.parent.parent.stat().st_mode & 0o077 == 0
    assert "\n" not in command and shlex.split(command)
