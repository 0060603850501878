"""The sections of a settings file, and the files that ship with the package.

Each stage has one section, named as its command; `read` says how archives are opened. A section's
dataclass stands beside the code it configures and is imported only when it is needed.
"""

from importlib import import_module, resources
from pathlib import Path
from typing import Any

from exastorm.config import from_dict, merge, read_yaml, suggestion
from exastorm.errors import InputError

SECTIONS: dict[str, str] = {
    "read": "exastorm.readers.options:ReadOptions",
    "synthesize": "exastorm.readers.synthetic.settings:SyntheticSettings",
    "label": "exastorm.labels.settings:LabelSettings",
    "prepare": "exastorm.samples.settings:PrepareSettings",
    "train": "exastorm.train.settings:TrainSettings",
    "segment": "exastorm.predict.settings:SegmentSettings",
    "census": "exastorm.storms.settings:CensusSettings",
    "report": "exastorm.report.settings:ReportSettings",
}
"""Section name to the dataclass that it is read into, in the order the data flows."""


def section_class(name: str) -> Any:
    """The settings dataclass of a section."""
    module, attribute = SECTIONS[name].split(":")
    return getattr(import_module(module), attribute)


def shipped_configs() -> list[str]:
    """Names of the settings files that ship with the package, as `--config` takes them."""
    folder = resources.files("exastorm") / "configs"
    return sorted(
        f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")
    )


def find_config(name: str) -> Path:
    """The settings file of that path, or the shipped one of that name.

    Raises:
        InputError: If there is neither.
    """
    path = Path(name)
    if path.is_file():
        return path
    if name in shipped_configs():
        return Path(str(resources.files("exastorm") / "configs" / f"{name}.yaml"))
    raise InputError(
        f"--config must be a YAML file or one of the shipped settings, got {name!r}"
        f"{suggestion(name, shipped_configs())}"
    )


def load_sections(
    name: str | None, wanted: tuple[str, ...] | None = None, under: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Settings of the sections of a file, checked.

    Args:
        name: Path of a YAML file or name of a shipped one; None for no file.
        wanted: Sections to build; None builds every section of the file. All section names are
            checked in any case.
        under: Settings by section that hold where the file does not say otherwise.

    Raises:
        InputError: For unknown sections or keys, or wrong values, with their path.
    """
    path = None if name is None else find_config(name)
    values = {} if path is None else read_yaml(path)
    for section in values:
        if section not in SECTIONS:
            raise InputError(
                f"unknown section {section!r}{suggestion(str(section), SECTIONS)}", file=path
            )
    merged = merge(under or {}, {section: content or {} for section, content in values.items()})
    return {
        section: from_dict(section_class(section), content, path)
        for section, content in merged.items()
        if wanted is None or section in wanted
    }
