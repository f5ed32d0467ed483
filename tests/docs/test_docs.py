"""No command, option or setting without its documentation."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
import yaml

from core.sections import descriptions
from core.settings import Settings
from core.settings_file import SECRETS, load
from core.settings_sources import section_models, setting_fields
from scripts import write_docs


@pytest.mark.parametrize("path", list(write_docs.texts()), ids=lambda path: path.name)
def test_what_is_derived_from_the_code_is_current(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == write_docs.texts()[path], f"{path.name} is stale: run `make docs`"


def test_config_yml_holds_every_setting_and_only_those_with_its_default() -> None:
    text = (write_docs.ROOT / "config.yml").read_text(encoding="utf-8")
    for key in write_docs.LEFT_OUT:
        text = text.replace(f"  # {key.split('.')[1]}:", f"  {key.split('.')[1]}:", 1)
    shown = {
        f"{section}.{name}": tuple(value) if isinstance(value, list) else value
        for section, keys in yaml.safe_load(text).items()
        for name, value in keys.items()
    }
    assert shown == {key: field.default for key, field in setting_fields().items() if key not in SECRETS}


def test_config_yml_changes_nothing() -> None:
    loaded = load(write_docs.ROOT / "config.yml", {})
    assert loaded.settings == Settings()
    assert {given.layer for given in loaded.origins.values()} == {"file"}


def test_every_setting_and_section_is_described() -> None:
    said = {section: descriptions(model) for section, model in section_models().items()}
    assert [key for key in setting_fields() if not said[key.split(".")[0]].get(key.split(".")[1])] == []
    assert [name for name, model in section_models().items() if not model.__doc__] == []


@pytest.mark.parametrize("context", list(write_docs.commands()), ids=lambda context: context.command_path)
def test_every_command_and_option_says_what_it_does(context: click.Context) -> None:
    assert context.command.help
    for parameter in context.command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{context.command_path} {parameter.opts[0]} has no help"
