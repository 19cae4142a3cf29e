"""Adapters to the world's mail providers; one file each, picked up by the ``type`` of a configured provider."""
