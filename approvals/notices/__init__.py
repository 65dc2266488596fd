"""What is told outside: written beside what it tells of, delivered afterwards by others."""
