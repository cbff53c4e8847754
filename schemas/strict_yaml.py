"""YAML as closed-world data: a safe subset, in which no key stands twice.

PyYAML lets the last of two equal keys win, silently: in a table of who may sign that would be a way to hide a line.
Nothing here knows what the keys mean.
"""

from __future__ import annotations

from typing import Any

import yaml

YAMLError = yaml.YAMLError


def load_yaml(text: str) -> object:
    """The data of one document. Raises YAMLError, also for a key that stands twice."""
    data: object = yaml.load(text, Loader=_StrictLoader)  # noqa: S506  (a SafeLoader that refuses repeated keys)
    return data


class _StrictLoader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key_node.value!r} stands here twice", key_node.start_mark
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep=deep)
