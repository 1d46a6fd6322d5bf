"""The migration that makes the table: as SQL, for Alembic, for Django."""

from dispatch_grpc.outbox.table import create_statements

_ALEMBIC = '''\
"""Make the outbox of dispatch-grpc."""

from alembic import op

revision = "dispatch_outbox"
down_revision = None  # the revision before this one
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in CREATE.split(";\\n"):
        if statement:
            op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE {table}")


CREATE = """\\
{create}"""
'''

_DJANGO = '''\
"""Make the outbox of dispatch-grpc."""

from django.db import migrations

CREATE = """\\
{create}"""


class Migration(migrations.Migration):
    dependencies = []  # the migration before this one: [("app", "0001_initial")]
    operations = [migrations.RunSQL(CREATE, "DROP TABLE {table}")]
'''

FORMS = {"sql": "{create}", "alembic": _ALEMBIC, "django": _DJANGO}
"""Templates by the name of the tool."""


def migration(form: str, table: str) -> str:
    """Return the migration.

    Args:
        form: One of `FORMS`.
        table: Name of the table.

    Raises:
        ConfigurationError: The name is not acceptable.
    """
    return FORMS[form].format(table=table, create=create_statements(table)).rstrip("\n")
