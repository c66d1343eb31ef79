"""Grafana's own types read the dashboards: every field is one of theirs, has a value that it may have, and stays what it is.

    python3 tests/e2e/dashboards.py target/slo/dashboards/*.json
"""

import enum
import json
import pathlib
import sys
import types
import typing

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard


def lost(ours, theirs, path="dashboard"):
    """What is in ours and not in theirs."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            yield from lost(value, theirs.get(key), f"{path}.{key}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, pair in enumerate(zip(ours, theirs)):
            yield from lost(*pair, f"{path}[{index}]")
    elif ours != theirs:
        yield f"{path}: {ours!r} became {theirs!r}"


def fits(value, kind):
    """Whether a value is of the kind that a type says."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, argument) for argument in arguments)
    if origin is typing.Literal:
        return value in arguments
    if origin is list:
        return isinstance(value, list) and all(fits(item, arguments[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict)
    if not isinstance(kind, type) or kind is object or getattr(kind, "_is_protocol", False):
        return True
    if issubclass(kind, enum.Enum):
        return value in [one.value for one in kind]
    if kind in (int, float):
        return isinstance(value, (int, kind)) and not isinstance(value, bool)
    return isinstance(value, kind)


def wrong(value, path="dashboard"):
    """The fields whose values are of another kind than their types say."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from wrong(item, f"{path}[{index}]")
    elif hasattr(value, "to_json"):
        kinds = typing.get_type_hints(type(value))
        for name, field in vars(value).items():
            if name in kinds and not fits(field, kinds[name]):
                yield f"{path}.{name} = {field!r}: no {kinds[name]}"
            yield from wrong(field, f"{path}.{name}")


def main(files):
    register_default_plugins()
    assert files, "no dashboards"
    uids = set()
    for file in files:
        ours = json.loads(file.read_text(encoding="utf-8"))
        read = Dashboard.from_json(ours)
        found = [*lost(ours, json.loads(JSONEncoder().encode(read))), *wrong(read)]
        assert not found, "\n".join([f"{file}:", *found])
        assert ours["schemaVersion"] == Dashboard().schema_version, f"{file}: these types are of another schema"
        assert ours["panels"] and len(ours["uid"]) <= 40 and ours["uid"] not in uids, f"{file}: {ours['uid']}"
        uids.add(ours["uid"])
    print(f"{len(files)} dashboards of schema {Dashboard().schema_version}")


if __name__ == "__main__":
    main([pathlib.Path(file) for file in sys.argv[1:]])
