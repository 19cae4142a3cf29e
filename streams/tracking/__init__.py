"""Links of our own: a pixel for opens, redirects for clicks, pages to unsubscribe.

``tokens`` seals what a link says; ``urls`` and ``html`` find what may be led through us; ``rewrite`` does it; ``mail``
decides it for a content; ``facts`` is what the ingress stores of a visit, and how normalise reads it; ``automation``
says who is likely behind it; ``pages`` is what a person sees.
"""
