"""What the floor reads and writes."""

from django.db import models


class Key(models.Model):
    """Found by its text."""

    text = models.CharField(max_length=64, unique=True)


class Line(models.Model):
    """One line for each call."""

    key = models.ForeignKey(Key, on_delete=models.CASCADE)
    arguments = models.JSONField()
    written_at = models.DateTimeField(auto_now_add=True)
