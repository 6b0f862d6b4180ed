"""What a command needs on the head of a cluster: its words there, and files of this machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lstm_sweep.models.data import samples
from lstm_sweep.models.data.source import existing, file_groups
from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.models.yaml_file import read_yaml
from lstm_sweep.search.spec import SweepSpec
from lstm_sweep.spaces import presets
from lstm_sweep.spaces.template.template import Template

#: prefix of a path that is the head's own, such as `head:/srv/logs`
ON_HEAD = "head:"
#: options whose values are paths, or may be
PATHS = ("data", "space", "template")


@dataclass
class JobFiles:
    """A command as it is called on the head, in a folder with its files."""

    #: the command and its arguments
    words: list[str]
    #: by the name in that folder: a file of this machine, or a content
    files: dict[str, Path | bytes] = field(default_factory=dict)

    def option(self, name: str, value: object) -> None:
        """Give the command an option."""
        text = ("off", "on")[value] if isinstance(value, bool) else value
        self.words.append(f"--{name.replace('_', '-')}={text}")

    def options(self, given: Mapping[str, object]) -> None:
        """Give the command these options, but for paths."""
        for name, value in given.items():
            if name not in PATHS:
                self.option(name, value)

    def file(self, file: Path, folder: str) -> str:
        """Take a file along; its path in the folder of the job."""
        return self._add(f"{folder}/{file.name}", file)

    def _add(self, name: str, file: Path) -> str:
        try:
            name.encode()
        except UnicodeEncodeError:
            name += "\\"
        if "\\" in name or not name.isprintable():
            raise InputError(
                f"{file}: the name is {shown(name)}, expected one without backslashes and control "
                f"characters, in UTF-8: others are not unpacked on a cluster"
            )
        self.files[name] = file
        return name

    def data(self, given: str) -> str:
        """The data as they are named on the head; what is of this machine is taken along.

        Raises:
            InputError: there are none, or they cannot be read.
        """
        if given in samples.SAMPLES:
            return given
        if given.startswith(ON_HEAD):
            there = given.removeprefix(ON_HEAD)
            if there[:1] not in ("/", "~"):
                raise InputError(
                    f"data is {shown(given)}: expected a whole path on the head, such as "
                    f"{ON_HEAD}/srv/logs"
                )
            return there
        path = existing(given)
        name = path.resolve().name
        if not path.is_dir():
            file_groups(path)  # refuses one without content
            return self._add(f"data/{name}", path)
        for files in file_groups(path).values():
            for file in files:
                self._add(f"data/{name}/{file.relative_to(path)}", file)
        return f"data/{name}"


def of_launch(
    spec: SweepSpec,
    options: Mapping[str, Any],
    *,
    settings: Iterable[str] = (),
    file: Path | None = None,
) -> JobFiles:
    """`launch` with the same options, `--set` of `settings`, and sweep file.

    `spec` is what they make, so that they are known to be well.

    Raises:
        InputError: a file cannot be taken along.
    """
    job, written = JobFiles(["launch"]), dict[str, Any]()
    if file is not None:
        content = read_yaml(file)
        written = content if isinstance(content, dict) else {}
        job.files["sweep.yaml"] = file
        job.words.append("sweep.yaml")
    job.options(options)
    for setting in settings:
        job.option("set", setting)
    if spec.template:
        job.option("template", job.file(spec.template.path, "template"))
        return job
    named = {"data": SweepSpec.data, **written, **options}
    job.option("data", job.data(named["data"]))
    space = named.get("space")
    if isinstance(space, str):
        is_file = space not in presets.SPACES
        job.option("space", job.file(Path(space).expanduser(), "space") if is_file else space)
    return job


def of_spec(spec: SweepSpec, given: Iterable[str]) -> JobFiles:
    """`launch` of the fields of a spec that were `given`, those in a sweep file.

    Raises:
        InputError: a file cannot be taken along.
    """
    job, names = JobFiles(["launch", "sweep.yaml"]), set(given)
    written = {name: value for name, value in spec.to_dict().items() if name in names}
    for path in ("data", "template"):
        written.pop(path, None)
    if spec.template:
        written.pop("space", None)
        job.option("template", job.file(spec.template.path, "template"))
    else:
        job.option("data", job.data(spec.data))
    job.files["sweep.yaml"] = yaml.safe_dump(written, allow_unicode=True).encode()
    return job


def of_resume(sweep: str, options: Mapping[str, Any], *, template: str | None = None) -> JobFiles:
    """`resume` of a sweep with the same options, and with the user's template.

    Raises:
        InputError: there is no such template, or it is none.
    """
    job = JobFiles(["resume", sweep])
    job.options(options)
    if template is not None:
        job.option("template", job.file(Template.read(template).path, "template"))
    return job
