"""The floor: a Django project of one view that does one SELECT by key and one INSERT."""
