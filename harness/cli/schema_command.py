"""race schema: the published JSON Schemas."""

from __future__ import annotations

import json

import click

from harness.cli import completion
from harness.model import UsageError
from harness.results.schema import SCHEMAS, schema_text
from harness.strategy.loader import nearest


@click.command("schema")
@click.argument("name", required=False, shell_complete=completion.schema)
def command(name: str | None) -> None:
    """Print the JSON Schema of a document; without a name, what there is."""
    if name is None:
        for known in SCHEMAS:
            click.echo(f"{known:<14}{json.loads(schema_text(known))['title']}")
        click.echo("\nrace schema NAME prints one")
        return
    if name not in SCHEMAS:
        raise UsageError(f"unknown schema '{name}'; {nearest(name, SCHEMAS)}")
    click.echo(schema_text(name), nl=False)
