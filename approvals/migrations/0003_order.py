from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('approvals', '0002_desk'),
    ]

    operations = [
        migrations.AddField(
            model_name='invocation',
            name='worker',
            field=models.CharField(blank=True, default='', max_length=100),
        ),
        migrations.AddIndex(
            model_name='invocation',
            index=models.Index(condition=models.Q(('status__in', ['queued', 'running', 'unknown'])), fields=['status', 'id'], name='invocation_in_order'),
        ),
    ]
