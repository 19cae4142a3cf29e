"""Bytes in and out: ``internal`` for what only we read, ``public`` (Avro, JSON) for everybody."""
