"""Collectors that cannot be run here: their files have only keys that they know, and name the product.

No package of the rig has Fluent Bit, Fluentd, Promtail or Alloy. Their own check is named in each file.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from bundler.commands.init import init_project

TEXT = {"type": "string", "minLength": 1}
NUMBER = {"type": "integer", "minimum": 0}
FLAG = {"type": "boolean"}


def closed(required: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Returns the schema of an object that has these keys and no others."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(required),
        "properties": required | more,
    }


def some(*kinds: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "items": {"oneOf": list(kinds)}}


def const(text: str) -> dict[str, Any]:
    return {"const": text}


BIT = closed(
    {
        "service": closed({"flush": NUMBER, "log_level": TEXT, "storage.path": TEXT}),
        "parsers": some(
            closed({"name": TEXT, "format": const("json"), "time_key": TEXT, "time_format": TEXT})
        ),
        "pipeline": closed(
            {
                "inputs": some(
                    closed(
                        {
                            "name": const("systemd"),
                            "tag": TEXT,
                            "systemd_filter": TEXT,
                            "db": TEXT,
                            "strip_underscores": FLAG,
                            "storage.type": const("filesystem"),
                        }
                    )
                ),
                "filters": some(
                    closed(
                        {
                            "name": const("parser"),
                            "match": TEXT,
                            "key_name": const("MESSAGE"),
                            "parser": TEXT,
                            "reserve_data": FLAG,
                        }
                    )
                ),
                "outputs": some(
                    closed(
                        {
                            "name": const("tcp"),
                            "match": TEXT,
                            "host": TEXT,
                            "port": NUMBER,
                            "format": const("json_lines"),
                            "retry_limit": const("no_limits"),
                        }
                    )
                ),
            }
        ),
    }
)
PARSE = {"$type": const("json"), "time_key": TEXT, "time_type": const("string"), "time_format": TEXT}
BUFFER = {"$type": const("file"), "path": TEXT, "total_limit_size": TEXT, "retry_forever": FLAG}
FLUENTD = closed(
    {
        "config": some(
            closed(
                {"source": closed({"$type": const("forward"), "bind": const("127.0.0.1"), "port": NUMBER})}
            ),
            closed(
                {
                    "filter": closed(
                        {
                            "$type": const("parser"),
                            "$tag": TEXT,
                            "key_name": const("log"),
                            "reserve_data": FLAG,
                            "emit_invalid_record_to_error": FLAG,
                            "parse": closed(PARSE),
                        }
                    )
                }
            ),
            closed(
                {
                    "match": closed(
                        {
                            "$type": const("forward"),
                            "$tag": TEXT,
                            "buffer": closed(BUFFER),
                            "server": some(closed({"host": TEXT, "port": NUMBER})),
                        }
                    )
                }
            ),
        )
    }
)
STAGES = some(
    closed({"json": closed({"expressions": {"type": "object", "additionalProperties": TEXT}})}),
    closed({"timestamp": closed({"source": TEXT, "format": const("RFC3339Nano")})}),
    closed({"labels": {"type": "object", "additionalProperties": {"type": "string"}}}),
)
RELABEL = some(
    closed({"source_labels": some(TEXT)}, regex=TEXT, action=const("keep"), target_label=TEXT),
)
PROMTAIL = closed(
    {
        "server": closed(
            {
                "http_listen_address": const("127.0.0.1"),
                "http_listen_port": NUMBER,
                "grpc_listen_port": NUMBER,
            }
        ),
        "positions": closed({"filename": TEXT}),
        "clients": some(closed({"url": {"type": "string", "pattern": "^https://.*/loki/api/v1/push$"}})),
        "scrape_configs": some(
            closed(
                {
                    "job_name": TEXT,
                    "journal": closed({"max_age": TEXT, "labels": {"type": "object"}}),
                    "relabel_configs": RELABEL,
                    "pipeline_stages": STAGES,
                }
            )
        ),
    }
)
ALLOY = re.compile(
    r"""(?x) \s+ | //[^\n]*
    | (?P<block> [a-z_.]+ (?:\ "[a-z_]+")? \ \{ \n )
    | (?P<attribute> [a-z_]+ \ *= \ * (?: "[^"\n]*" | \[[^\]\n]*\] | \{[^}\n]*\} | [a-z_.]+ ) \n )
    | (?P<end> \} \n )"""
)


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("files") / "door-bell"
    init_project(directory, "monitoring")
    return directory / "monitoring/logs"


@pytest.mark.parametrize(
    ("name", "schema"),
    [("fluent-bit.yaml", BIT), ("fluentd.yaml", FLUENTD), ("promtail.yaml", PROMTAIL)],
)
def test_a_collector_is_configured_with_keys_that_it_knows(logs: Path, name: str, schema: Any) -> None:
    Draft202012Validator.check_schema(schema)
    document = yaml.safe_load((logs / name).read_text())
    Draft202012Validator(schema).validate(document)
    assert "door-bell" in (logs / name).read_text()
    assert not Draft202012Validator(schema).is_valid(document | {"more": 1})


def test_the_file_of_alloy_has_whole_blocks_and_components_that_exist_in_it(logs: Path) -> None:
    text = (logs / "config.alloy").read_text()
    at, depth, blocks = 0, 0, []
    while at < len(text):
        match = ALLOY.match(text, at)
        assert match, text[at : at + 60]
        if match["block"]:
            depth += 1
            blocks.append(match["block"].split(" {")[0])
        depth -= bool(match["end"])
        assert depth >= 0
        at = match.end()
    assert depth == 0
    made = {block.replace(' "', ".").rstrip('"') for block in blocks if '"' in block}
    used = set(re.findall(r"(loki(?:\.[a-z]+)+)\.(?:rules|receiver)", text))
    assert len(used) == 3
    assert used <= made
