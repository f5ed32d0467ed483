"""Event handlers as files: what is taken, what is refused in one line, and what they are asked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from core.errors import UsageError
from core.handlers import Context, automated_ingest, files
from core.handlers.loaded import Handler, HandlerFailed
from core.handlers.names import CharacterMap
from core.outcome import Retry, outcome_of

PEER = "from irods_capability_automated_ingest.core import Core\n"
OURS = "from core.handlers import EventHandler\n"
CONTEXT = Context(job="j", source="/s", collection="/z/c", log=None, path="/s/a", relative="a", logical_path="/z/c/a")


def loaded(folder: Path, text: str) -> Handler:
    path = folder / "handler.py"
    path.write_text(text)
    return files.inspect(files.read(path))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("class (", "line 1: SyntaxError"),
        ("\nimport no_such_module", "line 2: ModuleNotFoundError"),
        ("raise SystemExit(3)", "SystemExit"),
        ("x = 1", "defines 0 handlers"),
        (OURS + "class A(EventHandler): pass\nclass B(EventHandler): pass", "defines 2 handlers"),
        (
            PEER + "class event_handler(Core):\n    @staticmethod\n    def character_map(): return 3",
            "character map is a int",
        ),
        (PEER + "class event_handler(Core):\n    @staticmethod\n    def character_map(): return {'ab': '_'}", "'ab'"),
    ],
)
def test_what_cannot_be_loaded_is_told_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        loaded(tmp_path, text)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_ours_says_what_it_overrides_and_is_asked_nothing_else(tmp_path: Path) -> None:
    text = OURS + "class Mine(EventHandler):\n    def to_resource(self, context): return context.relative + 'Resc'"
    handler = loaded(tmp_path, text)
    assert handler.overrides == ("to_resource",)
    assert handler.ask("to_resource", CONTEXT) == "aResc"
    assert handler.ask("operation", CONTEXT) is None
    assert not handler.one_by_one


def test_the_other_style_has_its_own_defaults(tmp_path: Path) -> None:
    handler = loaded(tmp_path, PEER + "class event_handler(Core): pass")
    assert handler.ask("operation", CONTEXT) == "register_sync"
    assert handler.overrides == ()
    assert handler.strict


@pytest.mark.parametrize("style", ["ours", "other"])
def test_what_comes_after_is_not_told_when_the_work_fails(tmp_path: Path, style: str) -> None:
    if style == "ours":
        text = OURS + "class H(EventHandler):\n    seen = []\n"
        text += "    def pre_data_obj_create(self, context): self.seen.append('pre')\n"
        text += "    def post_data_obj_create(self, context): self.seen.append('post')\n"
        text += "    def operation(self, context): raise KeyError(str(self.seen))\n"
    else:
        text = PEER + "class event_handler(Core):\n    seen = []\n"
        for when in ("pre", "post"):
            text += f"    @staticmethod\n    def {when}_data_obj_create(m, logger, session, meta, **o):\n"
            text += f"        event_handler.seen.append('{when}')\n"
        text += (
            "    @staticmethod\n    def operation(session, meta, **options): raise KeyError(str(event_handler.seen))\n"
        )
    handler = loaded(tmp_path, text)

    def broken() -> None:
        raise ValueError("ours")

    with pytest.raises(ValueError, match="ours"):
        handler.around("data_obj_create", CONTEXT, broken)
    with pytest.raises(HandlerFailed, match=r"operation raised KeyError: .*\['pre'\]"):
        handler.ask("operation", CONTEXT)
    handler.around("data_obj_create", CONTEXT, lambda: None)
    with pytest.raises(HandlerFailed) as failed:
        handler.ask("operation", CONTEXT)
    assert failed.value.error == "KeyError"
    assert "'pre', 'pre', 'post'" in str(failed.value)


@pytest.mark.parametrize("answer", ["'no_such'", "3"])
def test_an_answer_that_makes_no_sense_is_a_failure(tmp_path: Path, answer: str) -> None:
    handler = loaded(tmp_path, OURS + f"class H(EventHandler):\n    def operation(self, context): return {answer}")
    with pytest.raises(HandlerFailed, match="operation returned"):
        handler.ask("operation", CONTEXT)


def test_the_package_is_there_only_while_a_handler_is_looked_at(tmp_path: Path) -> None:
    import sys

    loaded(tmp_path, PEER + "class event_handler(Core): pass")
    assert not [name for name in sys.modules if name.startswith(automated_ingest.PACKAGE)]


@pytest.mark.parametrize(
    ("path", "told"),
    [("", "s/p|s/p|s/p|None"), ("/s/p/k", "s|s/p|/s/p/k|p"), ("/s/p/d/k", "s|s/p|/s/p/d/k|p")],
)
def test_the_root_of_a_bucket_s_objects_is_the_bucket(tmp_path: Path, path: str, told: str) -> None:
    text = PEER + "class event_handler(Core):\n    @staticmethod\n    def target_path(session, meta, **options):\n"
    text += "        return '|'.join(str(meta.get(key)) for key in ('root', 'src_path', 'path', 's3_prefix'))\n"
    context = Context(job="j", source="/s/p", collection="/z/c", log=None, path=path, relative=path[5:], bucket="s")
    assert loaded(tmp_path, text).ask("target_path", context) == told


def test_meta_has_what_handlers_read(tmp_path: Path) -> None:
    text = PEER + "class event_handler(Core):\n    @staticmethod\n    def target_path(session, meta, **options):\n"
    text += "        return meta['path'] + '|' + meta['target'] + '|' + meta['root'] + '|' + meta['job_name']\n"
    assert loaded(tmp_path, text).ask("target_path", CONTEXT) == "/s/a|/z/c/a|/s|j"


ONLY_LETTERS = {re.compile("[^a-zA-Z0-9]"): "_"}


@pytest.mark.parametrize(
    ("rules", "name", "mapped"),
    [
        (ONLY_LETTERS, "plain", "plain"),
        (ONLY_LETTERS, "x.y", "x_y_S4"),
        (ONLY_LETTERS, "ü", "__c2d"),
        (
            ONLY_LETTERS,
            "a-long name with many.dots.and spaces",
            "a_long_name_with_many_dots_and_spaces_08saVEUH5bHa1doh48",
        ),
        ({"a": "b"}, "a", "b-B1"),
    ],
)
def test_a_name_that_changes_has_the_suffix_of_automated_ingest(rules: dict[Any, str], name: str, mapped: str) -> None:
    assert CharacterMap(rules).element(name) == mapped


def test_no_two_names_are_mapped_to_one() -> None:
    mapping = CharacterMap({re.compile("[^a-z]"): "_"})
    names = ["a.b", "a:b", "a_b", "a b", ".", ":", "ü", "ö" * 40, "ä" * 40]
    assert len({mapping.element(name) for name in names}) == len(names)
    assert mapping.path("a.b/c") == f"{mapping.element('a.b')}/c"


def test_what_a_handler_raises_can_be_kept_whatever_it_says(tmp_path: Path) -> None:
    text = OURS + "class H(EventHandler):\n    def operation(self, context):\n"
    handler = loaded(tmp_path, text + "        raise ValueError('a\\udcff\\ud800\\0' + 'x' * 100_000)")
    with pytest.raises(HandlerFailed) as failed:
        handler.ask("operation", CONTEXT)
    outcome = outcome_of(failed.value)
    assert isinstance(outcome, Retry)
    assert "raised ValueError: a%FF%00%00xx" in outcome.message
    assert len(outcome.message.encode()) < 10_000
