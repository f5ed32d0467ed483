"""What a section of the configuration is made of."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(gt=0)]
Word = Annotated[str, Field(min_length=1)]


class Section(BaseModel):
    """A section of config.yml: unknown keys are refused and docstrings below keys are their descriptions."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def descriptions(model: type[Section]) -> Mapping[str, str]:
    """Return what the docstrings below the keys of a section say, each as one line.

    Read from the source when somebody asks: pydantic's `use_attribute_docstrings` does that whenever a process starts.
    """
    [tree] = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(tree, ast.ClassDef)
    return {
        key.target.id: " ".join(said.value.value.split())
        for key, said in pairwise(tree.body)
        if isinstance(key, ast.AnnAssign) and isinstance(key.target, ast.Name)
        if isinstance(said, ast.Expr) and isinstance(said.value, ast.Constant) and isinstance(said.value.value, str)
    }
