"""What runs beside race, in environments of its own: nothing here is imported by race or by its bench."""
