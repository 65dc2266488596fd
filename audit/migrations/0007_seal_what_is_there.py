from django.db import migrations

from audit import append_only


def await_their_seals(apps, schema_editor):
    """What was written before there was a tree gets its leaf like everything else."""
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("INSERT INTO audit_unsealed (event_id) SELECT id FROM audit_event")


def install(apps, schema_editor):
    append_only.install(schema_editor.connection)
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP FUNCTION IF EXISTS audit_event_is_append_only()")


def remove(apps, schema_editor):
    append_only.remove(schema_editor.connection)


class Migration(migrations.Migration):
    dependencies = [("audit", "0006_the_tree")]

    operations = [
        migrations.RunPython(await_their_seals, migrations.RunPython.noop),
        migrations.RunPython(install, remove),
    ]
