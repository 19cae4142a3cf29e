"""From content to what a provider carries: rendering templates and building MIME messages."""
