"""From a scene to coordinates.

Read in this order: ``lanes`` and ``rows`` (a height for every quantity), ``order`` (places within a row), ``route``
(which way every edge goes), ``coordinates`` (where that is), ``curves`` (the points of every edge), ``space`` (what is
still empty), ``captions`` and ``delays`` (what is put there), ``layout`` (all of it).
"""
