"""YAML as closed-world data: a safe subset, in which no key stands twice and every text has one reading.

PyYAML lets the last of two equal keys win, silently: in a table of who may sign that would be a way to hide a line. Its
constructors also let through what they were raised in: a day that does not exist is a ValueError, a list as a key a
TypeError, deep nesting a RecursionError. Here every fault of a document is a YAMLError.
Nothing here knows what the keys mean.
"""

from __future__ import annotations

from typing import Any, Final

import yaml

YAMLError = yaml.YAMLError
MERGE: Final = "tag:yaml.org,2002:merge"


def load_yaml(text: str) -> object:
    """The data of one document. Raises YAMLError: no YAML, a key that stands twice or is not a plain text, a merge
    (`<<`), a value that cannot be what it looks like."""
    try:
        data: object = yaml.load(text, Loader=_StrictLoader)  # noqa: S506  (a SafeLoader that refuses more)
    except YAMLError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise YAMLError(f"a value that cannot be read ({type(error).__name__}: {str(error)[:100]})") from error
    return data


class _StrictLoader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == MERGE:
                raise yaml.constructor.ConstructorError(None, None, "a key that is not a plain text", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} stands here twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)
