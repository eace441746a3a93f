"""From a scene to coordinates.

Read in this order: ``lanes`` and ``rows`` (a height for every quantity), ``order`` (places within a row), ``route``
(which way every edge goes), ``curves`` (its points), ``space`` (what is still empty), ``captions`` and ``delays`` (what
is put there), ``layout`` (all of it).
"""
