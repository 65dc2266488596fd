"""The hall and the desk: a call enters, is judged, waits for a person, is sent to work."""
