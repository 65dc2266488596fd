import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('tools', '0003_sessions'),
    ]

    operations = [
        migrations.AddField(
            model_name='tool',
            name='max_running',
            field=models.PositiveIntegerField(blank=True, help_text='So many calls run at once, others wait; empty: as many as there are workers.', null=True, validators=[django.core.validators.MinValueValidator(1)], verbose_name='running at most'),
        ),
        migrations.AddField(
            model_name='tool',
            name='priority',
            field=models.SmallIntegerField(default=0, help_text='Calls of higher priority are taken first; the usual one is 0.'),
        ),
        migrations.AddConstraint(
            model_name='tool',
            constraint=models.CheckConstraint(condition=models.Q(('max_running', None), ('max_running__gte', 1), _connector='OR'), name='a_tool_may_run'),
        ),
    ]
