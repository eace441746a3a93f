"""From what the user gives to the things to draw and the columns that they stand in.

Read in this order: ``options``, ``subject`` (which graph), ``timeline`` (which quantities of different steps are one),
``levels`` (what becomes one thing), ``columns`` (which steps become one column).
"""
